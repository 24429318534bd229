//! Pages compressed with gzip, by libdeflate.

use libdeflater::{CompressionLvl, Compressor};

/// A compressor and its output, both kept from page to page.
///
/// It takes the lowest level that compresses: pages of metrics shrink to a tenth even so, and the
/// higher levels cost more than the collection itself.
pub struct Gzip {
    compressor: Compressor,
    output: Vec<u8>,
}

/// libdeflate counts from 0, which only stores.
const LEVEL: CompressionLvl = match CompressionLvl::new(1) {
    Ok(level) => level,
    Err(_) => panic!("libdeflate has levels from 0 to 12"),
};

impl Gzip {
    /// A compressor that has no output buffer yet.
    pub fn new() -> Self {
        Gzip { compressor: Compressor::new(LEVEL), output: Vec::new() }
    }

    /// The page as one gzip member; allocates only for a page longer than any before.
    pub fn compress(&mut self, page: &[u8]) -> &[u8] {
        let bound = self.compressor.gzip_compress_bound(page.len());
        if self.output.len() < bound {
            // Room to spare, so that a page that grows by a digit does not need another buffer.
            // Memory asked for as zeros becomes resident only where it is written to.
            self.output = Vec::new();
            self.output = vec![0; bound + bound / 4];
        }
        let length = self.compressor.gzip_compress(page, &mut self.output);
        &self.output[..length.expect("the bound is enough for any input")]
    }
}

impl Default for Gzip {
    fn default() -> Self {
        Gzip::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libdeflater::Decompressor;

    fn inflate(packed: &[u8], length: usize) -> Vec<u8> {
        let mut plain = vec![0; length + 1];
        let length = Decompressor::new().gzip_decompress(packed, &mut plain).expect("valid gzip");
        plain.truncate(length);
        plain
    }

    #[test]
    fn pages_come_back() {
        let mut gzip = Gzip::new();
        let page = b"node_load1 0.5\n".repeat(1000);
        let mut noise = 1u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (noise >> 24) as u8
        })
        .take(100_000)
        .collect();
        for text in [&page[..], b"", &noise, b"x", &page] {
            let packed = gzip.compress(text).to_vec();
            assert_eq!(packed[..3], [0x1f, 0x8b, 8]);
            assert_eq!(inflate(&packed, text.len()), text);
        }
        let packed = gzip.compress(&page).len();
        assert!(packed < page.len() / 20, "{packed}");
    }

    #[test]
    fn a_page_that_grows_a_little_finds_room() {
        let mut gzip = Gzip::new();
        gzip.compress(&b"node_load1 0.5\n".repeat(1000));
        let before = gzip.output.as_ptr();
        gzip.compress(&b"node_load1 0.25\n".repeat(1000));
        assert_eq!(gzip.output.as_ptr(), before);
    }
}
