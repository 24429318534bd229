//! Pages compressed with gzip, by libdeflate.

use libdeflater::{CompressionLvl, Compressor};

/// A compressor, kept from page to page.
///
/// It takes the lowest level that compresses: pages of metrics shrink to a tenth even so, and the
/// higher levels cost more than the collection itself.
pub struct Gzip {
    compressor: Compressor,
}

/// libdeflate counts from 0, which only stores.
const LEVEL: CompressionLvl = match CompressionLvl::new(1) {
    Ok(level) => level,
    Err(_) => panic!("libdeflate has levels from 0 to 12"),
};

impl Gzip {
    /// A compressor.
    pub fn new() -> Self {
        Gzip { compressor: Compressor::new(LEVEL) }
    }

    /// Writes the page as one gzip member to the beginning of `output`, and answers how long it is;
    /// what is behind it has no meaning.
    ///
    /// `output` grows as needed, and is not cleared, so that a buffer which is used again is not
    /// filled with zeros each time. It allocates only for a page longer than any before.
    pub fn compress(&mut self, page: &[u8], output: &mut Vec<u8>) -> usize {
        let bound = self.compressor.gzip_compress_bound(page.len());
        if output.len() < bound {
            if output.capacity() < bound {
                // Room to spare, so that a page that grows by a digit does not need another
                // buffer. Memory asked for as zeros becomes resident only where it is written to.
                *output = vec![0; bound + bound / 4];
            } else {
                output.resize(output.capacity(), 0);
            }
        }
        let length = self.compressor.gzip_compress(page, output);
        length.expect("the bound is enough for any input")
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
            let mut packed = b"left over".to_vec();
            let length = gzip.compress(text, &mut packed);
            assert_eq!(packed[..3], [0x1f, 0x8b, 8]);
            assert_eq!(inflate(&packed[..length], text.len()), text);
        }
        let packed = gzip.compress(&page, &mut Vec::new());
        assert!(packed < page.len() / 20, "{packed}");
    }

    #[test]
    fn a_page_that_grows_a_little_finds_room() {
        let mut gzip = Gzip::new();
        let mut output = Vec::new();
        gzip.compress(&b"node_load1 0.5\n".repeat(1000), &mut output);
        let before = output.as_ptr();
        gzip.compress(&b"node_load1 0.25\n".repeat(1000), &mut output);
        assert_eq!(output.as_ptr(), before);
    }
}
