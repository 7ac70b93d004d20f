//! Unpacking compressed parts of a program file. The file is not trusted: nothing is unpacked beyond a limit, or beyond
//! the size that the file gives.

use std::io::{self, Read, Write};

use flate2::read::ZlibDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;
use thiserror::Error;

/// Deflate does not make more than this out of one byte (`zlib` technical details, "Maximum Compression Factor").
const MAX_DEFLATE_RATIO: u64 = 1032;
/// Memory that the dictionary of an xz stream may take, in KiB. `xz -9` asks for 64 MiB.
const XZ_MEMORY_KIB: u32 = 100 << 10;

/// Why a section cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SectionError {
    /// It is compressed by something other than zlib and zstd; this is its `ch_type`.
    #[error("it is compressed in a way (type {0}) that is not known; only zlib and zstd are")]
    Compression(u32),
    /// It is not in the file, or does not decompress to the size that its header gives.
    #[error("it is truncated or damaged")]
    Damaged,
    /// It would be larger than the limit, which is given in bytes.
    #[error("unpacked it is larger than {} MiB, and is not read", .0 >> 20)]
    TooLarge(u64),
    /// The output could not be written, usually for lack of space.
    #[error("there is no room to unpack it: {0}")]
    NoRoom(io::ErrorKind),
}

/// How bytes are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// Zlib.
    Zlib,
    /// Zstandard: one frame or several.
    Zstd,
}

/// Unpacks `packed`, which must unpack to `size` bytes, into `out`.
///
/// # Errors
/// If it unpacks to another size, or if `out` fails.
pub(crate) fn unpack(
    packed: &[u8],
    packing: Packing,
    size: u64,
    out: &mut impl Write,
) -> Result<(), SectionError> {
    let written = match packing {
        Packing::Zlib if size > (packed.len() as u64).saturating_mul(MAX_DEFLATE_RATIO) => {
            return Err(SectionError::Damaged);
        }
        Packing::Zlib => copy(ZlibDecoder::new(packed), size, out)?,
        Packing::Zstd => {
            let (mut rest, mut written) = (packed, 0);
            while written < size && !rest.is_empty() {
                let frame = StreamingDecoder::new(&mut rest).map_err(|_| SectionError::Damaged)?;
                written += copy(frame, size - written, out)?;
            }
            written
        }
    };
    if written == size { Ok(()) } else { Err(SectionError::Damaged) }
}

/// Unpacks an xz stream of at most `limit` bytes.
///
/// # Errors
/// If it is damaged, or would be larger.
pub(crate) fn unpack_xz(packed: &[u8], limit: u64) -> Result<Vec<u8>, SectionError> {
    let mut bytes = Vec::new();
    let stream = XzReader::new_mem_limit(packed, true, XZ_MEMORY_KIB);
    if copy(stream, limit + 1, &mut bytes)? > limit { Err(SectionError::TooLarge(limit)) } else { Ok(bytes) }
}

/// Copies at most `most` bytes, and returns how many.
fn copy(from: impl Read, most: u64, out: &mut impl Write) -> Result<u64, SectionError> {
    let mut from = from.take(most);
    let mut block = [0; 1 << 16];
    let mut copied = 0;
    loop {
        match from.read(&mut block) {
            Ok(0) => return Ok(copied),
            Ok(read) => {
                let read = block.get(..read).unwrap_or(&block);
                out.write_all(read).map_err(|error| SectionError::NoRoom(error.kind()))?;
                copied += read.len() as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(SectionError::Damaged),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const WORDS: &[u8] = b"pong::chat::ChatHistory::push pong::chat::ChatHistory::trim";
    /// Those words, packed by `xz --check=crc32`.
    const XZ: &str = "/Td6WFoAAAFpIt42AgAhARYAAAB0L+Wj4AA6ACddADgbyhicfSzmdLBxYLxpWF77P9yPyP/V6UCvTzk2aw8FI4nGBaQJqAAA49Y2\
                      TQABPzszdlPJkEKZDQEAAAAAAVla";

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    fn unpacked(packed: &[u8], packing: Packing, size: usize) -> Result<Vec<u8>, SectionError> {
        let mut out = Vec::new();
        unpack(packed, packing, size as u64, &mut out).map(|()| out)
    }

    #[test]
    fn what_was_packed_comes_out_again() {
        let long = WORDS.repeat(5000);
        for (packing, packed) in [(Packing::Zlib, zlib(&long)), (Packing::Zstd, zstd(&long))] {
            assert_eq!(unpacked(&packed, packing, long.len()).unwrap(), long, "{packing:?}");
        }
        let two_frames = [zstd(WORDS), zstd(WORDS)].concat();
        assert_eq!(unpacked(&two_frames, Packing::Zstd, 2 * WORDS.len()).unwrap(), WORDS.repeat(2));
    }

    #[test]
    fn another_size_than_announced_is_damage() {
        for (packing, packed) in [(Packing::Zlib, zlib(WORDS)), (Packing::Zstd, zstd(WORDS))] {
            for size in [WORDS.len() + 1, usize::MAX] {
                assert_eq!(unpacked(&packed, packing, size), Err(SectionError::Damaged), "{packing:?}");
            }
            for end in 0..packed.len() / 2 {
                assert!(unpacked(&packed[..end], packing, WORDS.len()).is_err(), "{packing:?} {end}");
            }
        }
    }

    #[test]
    fn a_stream_without_end_is_cut_at_the_limit() {
        use base64::Engine as _;
        let xz = base64::engine::general_purpose::STANDARD.decode(XZ).unwrap();
        assert_eq!(unpack_xz(&xz, 100).unwrap(), WORDS);
        assert_eq!(unpack_xz(&xz, 10), Err(SectionError::TooLarge(10)));
        assert_eq!(unpack_xz(&xz[..30], 100), Err(SectionError::Damaged));
    }

    #[test]
    fn a_full_disk_is_no_damage() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let full = unpack(&zlib(WORDS), Packing::Zlib, WORDS.len() as u64, &mut Full);
        assert_eq!(full, Err(SectionError::NoRoom(io::ErrorKind::StorageFull)));
    }
}
