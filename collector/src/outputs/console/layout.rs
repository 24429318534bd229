//! Blocks laid out in the lines and columns that there are.

use super::block::{Block, Body, Row};
use crate::charts::heaviest;
use std::collections::HashSet;
use std::ops::RangeInclusive;

/// Between two columns.
const GAP: usize = 2;
/// The least width of a number, so that columns stay where they are while numbers change: `999 kB/s`.
const NUMBER: usize = 9;
/// The widths that the column of names may have.
const NAMES: RangeInclusive<usize> = 10..=20;

/// The blocks that fit on one screen, in turn: a page.
pub(super) type Page = Vec<String>;

/// Shares pages of so many lines among the blocks: as many blocks as can be, each with as much of it as there is room for.
/// Without a limit there is one page.
pub(super) fn pages(blocks: &[Block], width: usize, lines: Option<usize>) -> Vec<Page> {
    let names = names_width(blocks, width);
    let whole: Vec<usize> = blocks.iter().map(|block| height(block, names, width)).collect();
    let Some(room) = lines else {
        let of = |(block, lines): (&Block, &usize)| lay_out(block, names, width, *lines);
        return vec![blocks.iter().zip(&whole).flat_map(of).collect()];
    };
    let mut pages = Vec::new();
    let mut next = 0;
    while next < blocks.len() {
        let (shares, end) = share(blocks, &whole, next, room);
        let page = blocks[next..end].iter().zip(&shares);
        pages.push(page.flat_map(|(block, lines)| lay_out(block, names, width, *lines)).collect());
        next = end;
    }
    pages
}

/// How many lines each block gets of those that begin at `first`, and which is the first that has no room.
fn share(blocks: &[Block], whole: &[usize], first: usize, room: usize) -> (Vec<usize>, usize) {
    let mut shares = Vec::new();
    let mut left = room;
    for (block, whole) in blocks[first..].iter().zip(&whole[first..]) {
        let least = least(block).min(*whole);
        if least > left && !shares.is_empty() {
            break;
        }
        shares.push(least.min(room));
        left = left.saturating_sub(least);
    }
    // A line in turn for each that has more to show.
    while left > 0 {
        let before = left;
        for (share, whole) in shares.iter_mut().zip(&whole[first..]) {
            if left > 0 && *share < *whole {
                *share += 1;
                left -= 1;
            }
        }
        if left == before {
            break;
        }
    }
    let end = first + shares.len();
    (shares, end)
}

/// With less a block goes to the next page: the columns of a table and three rows, or two lines of pairs.
fn least(block: &Block) -> usize {
    match block.body {
        Body::Table { .. } => 4,
        Body::Pairs(_) => 2,
        Body::Words(_) => 1,
    }
}

fn height(block: &Block, names: usize, width: usize) -> usize {
    match &block.body {
        Body::Pairs(pairs) => pairs.len().div_ceil(Grid::of(pairs, names, width).columns),
        Body::Table { rows, .. } => 1 + rows.len(),
        Body::Words(words) => wrapped(words, width.saturating_sub(names + GAP)).len(),
    }
}

/// The width of the column of names, the same for all blocks.
fn names_width(blocks: &[Block], width: usize) -> usize {
    let longest = blocks.iter().flat_map(|block| {
        let rows = match &block.body {
            Body::Table { rows, .. } => &rows[..],
            Body::Pairs(_) | Body::Words(_) => &[],
        };
        let rows = rows.iter().map(|row| letters(&row.name) + 1);
        rows.chain([letters(&block.title)])
    });
    let most = (*NAMES.end()).min(width / 3).max(*NAMES.start());
    longest.max().unwrap_or(0).clamp(*NAMES.start(), most)
}

fn lay_out(block: &Block, names: usize, width: usize, lines: usize) -> Vec<String> {
    match &block.body {
        Body::Words(words) => {
            let lines = wrapped(words, width.saturating_sub(names + GAP)).into_iter().take(lines);
            let line = |(place, words): (usize, String)| {
                cut(&format!("{:names$}  {words}", title_of(block, place, names)), width)
            };
            lines.enumerate().map(line).collect()
        }
        Body::Pairs(pairs) => {
            let grid = Grid::of(pairs, names, width);
            let rows = pairs.chunks(grid.columns).take(lines).enumerate();
            let row = |(place, pairs): (usize, &[(String, String)])| {
                let mut line = format!("{:names$}", title_of(block, place, names));
                for (name, number) in pairs {
                    let (name_width, number_width) = (grid.name, grid.number);
                    let name = shortened(name, name_width);
                    line += &format!("  {name:name_width$} {number:>number_width$}");
                }
                cut(line.trim_end(), width)
            };
            rows.map(row).collect()
        }
        Body::Table { columns, rows } => table(&block.title, columns, rows, names, width, lines),
    }
}

/// The title, which is in the first line of a block alone.
fn title_of(block: &Block, line: usize, names: usize) -> String {
    if line == 0 { shortened(&block.title, names) } else { String::new() }
}

/// Words in lines of so many letters.
fn wrapped(words: &[String], width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in words {
        let last = lines.last_mut().expect("there is one");
        if !last.is_empty() && letters(last) + 1 + letters(word) > width {
            lines.push(word.clone());
        } else {
            *last += if last.is_empty() { "" } else { " " };
            *last += word;
        }
    }
    lines
}

/// How pairs are laid out.
struct Grid {
    name: usize,
    number: usize,
    columns: usize,
}

impl Grid {
    fn of(pairs: &[(String, String)], names: usize, width: usize) -> Self {
        let longest = |text: fn(&(String, String)) -> &String| {
            pairs.iter().map(|pair| letters(text(pair))).max().unwrap_or(0)
        };
        let number = longest(|pair| &pair.1).max(NUMBER);
        let room = width.saturating_sub(names);
        let name = longest(|pair| &pair.0).min(room.saturating_sub(GAP + 1 + number));
        Grid { name, number, columns: (room / (GAP + name + 1 + number)).max(1) }
    }
}

fn table(
    title: &str,
    columns: &[String],
    rows: &[Row],
    names: usize,
    width: usize,
    lines: usize,
) -> Vec<String> {
    let number = |place: usize| {
        let cells = rows.iter().filter_map(|row| row.cells.get(place)).map(|cell| letters(cell));
        cells.chain([letters(&columns[place]), NUMBER]).max().unwrap_or(0)
    };
    // Columns for which there is no room are left out, the last ones first.
    let mut left = width.saturating_sub(names);
    let mut widths = Vec::new();
    for place in 0..columns.len() {
        let Some(rest) = left.checked_sub(number(place) + GAP) else { break };
        widths.push(number(place));
        left = rest;
    }
    let shown = heaviest(rows, lines.saturating_sub(1), |row| row.weight);
    let title = if shown.len() < rows.len() {
        format!("{title} {}/{}", shown.len(), rows.len())
    } else {
        title.to_owned()
    };
    // Names take what no column needs.
    let longest = rows.iter().map(|row| letters(&row.name) + 1).chain([letters(&title)]).max();
    let names = names.max(longest.unwrap_or(0).min(names + left));
    let line = |name: &str, cells: &[String]| {
        let mut line = format!("{name:names$}");
        for (cell, width) in cells.iter().zip(&widths) {
            line += &format!("  {cell:>width$}");
        }
        cut(line.trim_end(), width)
    };
    let labels = distinct(shown.iter().map(|row| &*row.name), names - 1);
    let heading = line(&shortened(&title, names), columns);
    let rows = shown.iter().zip(&labels).map(|(row, label)| line(&format!(" {label}"), &row.cells));
    [heading].into_iter().chain(rows).take(lines.max(1)).collect()
}

/// Names in so many letters. Two that are different stay so: one that is cut like another gets its number.
fn distinct<'a>(names: impl Iterator<Item = &'a str>, width: usize) -> Vec<String> {
    let mut known = HashSet::new();
    let mut number = 1;
    names
        .map(|name| {
            let mut label = shortened(name, width);
            while !known.insert(label.clone()) {
                number += 1;
                let mark = format!("~{number}");
                let rest = shortened(name, width.saturating_sub(letters(&mark)));
                label = format!("{rest}{mark}");
            }
            label
        })
        .collect()
}

/// A name cut in the middle: its beginning and its end both say something.
fn shortened(name: &str, width: usize) -> String {
    let length = name.chars().count();
    if length <= width {
        return name.to_owned();
    }
    let (head, tail) = (width.saturating_sub(1).div_ceil(2), width.saturating_sub(1) / 2);
    let start: String = name.chars().take(head).collect();
    let end: String = name.chars().skip(length - tail).collect();
    format!("{start}…{end}")
}

/// A line is never longer than the screen is wide: what follows would be in the next one.
fn cut(line: &str, width: usize) -> String {
    line.chars().take(width).collect()
}

fn letters(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn pairs(title: &str, names: &[&str]) -> Block {
        let pairs = names.iter().map(|name| ((*name).to_owned(), "12.3 %".to_owned()));
        Block { title: title.to_owned(), body: Body::Pairs(pairs.collect()) }
    }

    fn table(title: &str, rows: &[(&str, f64)]) -> Block {
        let columns = ["read", "written", "busy"].map(str::to_owned).to_vec();
        let rows = rows.iter().map(|(name, weight)| Row {
            name: (*name).to_owned(),
            cells: vec![format!("{weight} kB/s"), "0 B/s".to_owned(), "1.0 %".to_owned()],
            weight: *weight,
        });
        Block { title: title.to_owned(), body: Body::Table { columns, rows: rows.collect() } }
    }

    fn blocks() -> Vec<Block> {
        vec![
            pairs("CPU", &["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"]),
            table("Disks", &[("sda", 1.0), ("sdb", 3.0), ("sdc", 2.0), ("sdd", 0.0)]),
            Block {
                title: "Not on this host".to_owned(),
                body: Body::Words(["hwmon", "mdadm", "nfs"].map(str::to_owned).to_vec()),
            },
        ]
    }

    fn drawn(pages: &[Page]) -> String {
        let page = |page: &Page| page.iter().map(|line| format!("{line}|\n")).collect::<String>();
        pages.iter().map(page).collect::<Vec<_>>().join("====\n")
    }

    #[test]
    fn all_of_it_without_a_limit() {
        expect![[r#"
            CPU               user       12.3 %  nice       12.3 %  system     12.3 %|
                              idle       12.3 %  iowait     12.3 %  irq        12.3 %|
                              softirq    12.3 %  steal      12.3 %|
            Disks                  read    written       busy|
             sda                 1 kB/s      0 B/s      1.0 %|
             sdb                 3 kB/s      0 B/s      1.0 %|
             sdc                 2 kB/s      0 B/s      1.0 %|
             sdd                 0 kB/s      0 B/s      1.0 %|
            Not on this host  hwmon mdadm nfs|
        "#]]
        .assert_eq(&drawn(&pages(&blocks(), 80, None)));
        expect![[r#"
            CPU            user       12.3 %|
                           nice       12.3 %|
                           system     12.3 %|
                           idle       12.3 %|
                           iowait     12.3 %|
                           irq        12.3 %|
                           softirq    12.3 %|
                           steal      12.3 %|
            Disks               read    written|
             sda              1 kB/s      0 B/s|
             sdb              3 kB/s      0 B/s|
             sdc              2 kB/s      0 B/s|
             sdd              0 kB/s      0 B/s|
            Not on…s host  hwmon mdadm nfs|
        "#]]
        .assert_eq(&drawn(&pages(&blocks(), 40, None)));
    }

    #[test]
    fn lines_are_shared() {
        expect![[r#"
            CPU               user       12.3 %  nice       12.3 %  system     12.3 %|
                              idle       12.3 %  iowait     12.3 %  irq        12.3 %|
            Disks 3/4              read    written       busy|
             sda                 1 kB/s      0 B/s      1.0 %|
             sdb                 3 kB/s      0 B/s      1.0 %|
             sdc                 2 kB/s      0 B/s      1.0 %|
            ====
            Not on this host  hwmon mdadm nfs|
        "#]]
        .assert_eq(&drawn(&pages(&blocks(), 80, Some(6))));
        expect![[r#"
            CPU               user       12.3 %  nice       12.3 %  system     12.3 %|
                              idle       12.3 %  iowait     12.3 %  irq        12.3 %|
                              softirq    12.3 %  steal      12.3 %|
            ====
            Disks 2/4              read    written       busy|
             sdb                 3 kB/s      0 B/s      1.0 %|
             sdc                 2 kB/s      0 B/s      1.0 %|
            ====
            Not on this host  hwmon mdadm nfs|
        "#]]
        .assert_eq(&drawn(&pages(&blocks(), 80, Some(3))));
        // Less than that is no reason to fail.
        for (width, lines) in [(80, 1), (80, 0), (1, 5), (0, 0), (12, 3)] {
            for page in pages(&blocks(), width, Some(lines)) {
                assert!(page.len() <= lines.max(1), "{width}x{lines}: {page:?}");
                assert!(
                    page.iter().all(|line| letters(line) <= width),
                    "{width}x{lines}: {page:?}"
                );
            }
        }
    }

    #[test]
    fn names_take_the_room_that_columns_leave() {
        let blocks =
            [table("Disks", &[("sda", 1.0)]), table("Files", &[("/mnt/a/long/name/of/it", 1.0)])];
        expect![[r#"
            Disks                      read    written       busy|
             sda                     1 kB/s      0 B/s      1.0 %|
            Files                         read    written       busy|
             /mnt/a/long/name/of/it     1 kB/s      0 B/s      1.0 %|
        "#]]
        .assert_eq(&drawn(&pages(&blocks, 80, None)));
        expect![[r#"
            Disks               read    written|
             sda              1 kB/s      0 B/s|
            Files                    read    written|
             /mnt/a/l…me/of/it     1 kB/s      0 B/s|
        "#]]
        .assert_eq(&drawn(&pages(&blocks, 40, None)));
    }

    #[test]
    fn names_that_are_cut_stay_different() {
        let long = |letter: &str| format!("/var/lib/docker/{letter}{}/merged", letter.repeat(40));
        let names = [long("a"), long("b"), "short".to_owned()];
        let labels = distinct(names.iter().map(|name| &**name), 15);
        assert_eq!(labels, ["/var/li…/merged", "/var/l…merged~2", "short"]);
    }
}
