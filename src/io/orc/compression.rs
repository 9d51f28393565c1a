//! The blocks that a compressed ORC stream is cut into.

use std::io::Read;

use bytes::Bytes;
use orc_rust::proto::{CompressionKind, PostScript};

/// A block's length has 23 bits, so a larger block size means nothing.
const MAX_BLOCK: u64 = 1 << 23;
const DEFAULT_BLOCK: u64 = 256 << 10;
/// What one stream may grow to: far above any stripe, far below what a forged stream can claim.
const MAX_STREAM: usize = 1 << 30;

/// How a file's footers and streams are compressed.
#[derive(Clone, Copy, Debug)]
pub struct Compression {
    pub kind: CompressionKind,
    /// What one block decompresses to at most.
    pub block_size: usize,
}

impl Compression {
    /// What the postscript says, or why it cannot be read.
    pub fn from_postscript(postscript: &PostScript) -> Result<Self, String> {
        let number = postscript.compression.unwrap_or(CompressionKind::None as i32);
        let kind = CompressionKind::try_from(number).map_err(|_| format!("unknown compression {number}"))?;
        if kind == CompressionKind::Lzo {
            return Err("compressed with LZO; write it with zlib, snappy, lz4 or zstd".into());
        }
        let block_size = postscript.compression_block_size.unwrap_or(DEFAULT_BLOCK);
        if kind != CompressionKind::None && !(1..=MAX_BLOCK).contains(&block_size) {
            return Err(format!("a compression block size of {block_size}; at most {MAX_BLOCK} is possible"));
        }
        Ok(Self { kind, block_size: block_size.min(MAX_BLOCK) as usize })
    }

    /// The plain bytes of a stream or footer. Memory is bounded by the block size times the number
    /// of blocks that are there, and by [`MAX_STREAM`].
    pub fn decompress(&self, stream: Bytes) -> Result<Bytes, String> {
        if self.kind == CompressionKind::None {
            return Ok(stream);
        }
        let mut plain = Vec::with_capacity((2 * stream.len()).min(MAX_STREAM));
        let mut rest = &stream[..];
        while !rest.is_empty() {
            let Some((header, body)) = rest.split_first_chunk::<3>() else {
                return Err("a compression block is cut off in its header".into());
            };
            let header = u32::from_le_bytes([header[0], header[1], header[2], 0]);
            let Some((block, after)) = body.split_at_checked((header >> 1) as usize) else {
                return Err(format!(
                    "a compression block of {} bytes, {} are there",
                    header >> 1,
                    body.len()
                ));
            };
            match header & 1 {
                1 => plain.extend_from_slice(block),
                _ => self.decompress_block(block, &mut plain)?,
            }
            if plain.len() > MAX_STREAM {
                return Err(format!("a stream that decompresses to more than {MAX_STREAM} bytes"));
            }
            rest = after;
        }
        Ok(plain.into())
    }

    /// Appends what `block` decompresses to.
    fn decompress_block(&self, block: &[u8], plain: &mut Vec<u8>) -> Result<(), String> {
        let start = plain.len();
        let damaged =
            |e: &dyn std::fmt::Display| format!("a {} block cannot be decompressed: {e}", self.name());
        if self.kind == CompressionKind::Zlib {
            let decoder = flate2::read::DeflateDecoder::new(block);
            let length =
                decoder.take(self.block_size as u64 + 1).read_to_end(plain).map_err(|e| damaged(&e))?;
            return match length <= self.block_size {
                true => Ok(()),
                false => Err(damaged(&"it is larger than the block size")),
            };
        }
        plain.resize(start + self.block_size, 0);
        let room = &mut plain[start..];
        let length = match self.kind {
            CompressionKind::Snappy => {
                snap::raw::Decoder::new().decompress(block, room).map_err(|e| damaged(&e))?
            }
            CompressionKind::Lz4 => lz4_flex::block::decompress_into(block, room).map_err(|e| damaged(&e))?,
            CompressionKind::Zstd => {
                zstd::bulk::decompress_to_buffer(block, room).map_err(|e| damaged(&e))?
            }
            CompressionKind::None | CompressionKind::Zlib | CompressionKind::Lzo => {
                unreachable!("handled above")
            }
        };
        plain.truncate(start + length);
        Ok(())
    }

    /// The codec as people write it.
    pub fn name(&self) -> &'static str {
        match self.kind {
            CompressionKind::None => "none",
            CompressionKind::Zlib => "zlib",
            CompressionKind::Snappy => "snappy",
            CompressionKind::Lzo => "lzo",
            CompressionKind::Lz4 => "lz4",
            CompressionKind::Zstd => "zstd",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decompress(kind: CompressionKind, block: &[u8]) -> Result<Bytes, String> {
        let header = &((block.len() as u32) << 1).to_le_bytes()[..3];
        let compression = Compression { kind, block_size: 1000 };
        compression.decompress([header, block].concat().into())
    }

    #[test]
    fn a_block_never_grows_beyond_the_block_size() {
        for length in [1000, 1001, 50_000_000] {
            let plain = vec![7; length];
            let zlib = {
                use std::io::Write;
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(&plain).unwrap();
                encoder.finish().unwrap()
            };
            for (kind, block) in [
                (CompressionKind::Zlib, zlib),
                (CompressionKind::Snappy, snap::raw::Encoder::new().compress_vec(&plain).unwrap()),
                (CompressionKind::Lz4, lz4_flex::block::compress(&plain)),
                (CompressionKind::Zstd, zstd::bulk::compress(&plain, 1).unwrap()),
            ] {
                // Larger blocks than 2^23 cannot even be said to be there.
                let block = &block[..block.len().min(1 << 20)];
                match decompress(kind, block) {
                    Ok(found) => assert!(length == 1000 && found == plain[..], "{kind:?}"),
                    Err(_) => assert!(length > 1000, "{kind:?}"),
                }
            }
        }
    }

    #[test]
    fn cut_blocks_are_refused() {
        let compression = Compression { kind: CompressionKind::Zlib, block_size: 1000 };
        let refusal = |bytes: &'static [u8]| compression.decompress(Bytes::from_static(bytes)).unwrap_err();
        assert_eq!(refusal(&[1, 0]), "a compression block is cut off in its header");
        assert_eq!(refusal(&[7, 0, 0, 1, 2]), "a compression block of 3 bytes, 2 are there");
    }
}
