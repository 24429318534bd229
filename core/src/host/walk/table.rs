//! What a walk has read: a flat table, filled again at each refresh.

use crate::errno::EFBIG;

/// Names and contents of all rows in one piece of memory.
///
/// A row is the names of its levels and then a cell for each attribute.
#[derive(Debug, Default)]
pub(super) struct Table {
    bytes: Vec<u8>,
    cells: Vec<Cell>,
    /// The names of the levels above the next row, and of the row.
    names: Vec<Cell>,
    /// Where the row that is being written begins.
    row: usize,
    /// The inode number of each row's child.
    inodes: Vec<u64>,
}

/// A piece of the bytes, or why there is nothing.
#[derive(Clone, Copy, Debug)]
struct Cell {
    start: u32,
    end: u32,
    errno: i32,
}

impl Table {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.cells.clear();
        self.names.clear();
        self.inodes.clear();
    }

    pub(super) fn rows(&self) -> usize {
        self.inodes.len()
    }

    pub(super) fn inode(&self, row: usize) -> u64 {
        self.inodes[row]
    }

    /// Adds the name of a level to those of the next rows, until it is left.
    pub(super) fn name(&mut self, name: &[u8]) -> usize {
        let mark = self.names.len();
        let cell = self.store(name);
        self.names.push(cell);
        mark
    }

    pub(super) fn leave(&mut self, mark: usize) {
        self.names.truncate(mark);
    }

    pub(super) fn begin_row(&mut self) {
        self.row = self.cells.len();
        self.cells.extend_from_slice(&self.names);
    }

    pub(super) fn cell(&mut self, content: Result<&[u8], i32>) {
        let cell = match content {
            Ok(content) => self.store(content),
            Err(errno) => Cell { start: 0, end: 0, errno },
        };
        self.cells.push(cell);
    }

    pub(super) fn end_row(&mut self, inode: u64) {
        self.inodes.push(inode);
    }

    pub(super) fn drop_row(&mut self) {
        self.cells.truncate(self.row);
    }

    /// A cell of a row, where rows have `width` cells.
    pub(super) fn content(&self, row: usize, width: usize, cell: usize) -> Result<&[u8], i32> {
        let cell = self.cells[row * width + cell];
        match cell.errno {
            0 => Ok(&self.bytes[cell.start as usize..cell.end as usize]),
            errno => Err(errno),
        }
    }

    fn store(&mut self, content: &[u8]) -> Cell {
        let start = u32::try_from(self.bytes.len());
        let end = u32::try_from(self.bytes.len() + content.len());
        let (Ok(start), Ok(end)) = (start, end) else {
            return Cell { start: 0, end: 0, errno: EFBIG };
        };
        self.bytes.extend_from_slice(content);
        Cell { start, end, errno: 0 }
    }
}
