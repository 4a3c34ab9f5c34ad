//! Compares the data files of both nodes, and fills one with something to be copied.

use super::world::World;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes compared at once.
const PIECE: usize = 1 << 20;
/// Unit in which differences are counted.
const BLOCK: usize = 4096;

/// Writes blocks that are all different over `range` of a data file.
///
/// # Errors
/// The file can't be written.
pub fn fill(path: &Path, range: Range<u64>) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    let mut block = [0x5a; BLOCK];
    for offset in range.step_by(BLOCK) {
        block[..8].copy_from_slice(&offset.to_le_bytes());
        file.write_all_at(&block, offset)?;
    }
    Ok(())
}

/// Exported bytes of both data files that differ, in whole blocks.
///
/// # Errors
/// A file can't be read.
pub fn differing(world: &World) -> io::Result<u64> {
    let mut files = [File::open(world.nodes[0].data())?, File::open(world.nodes[1].data())?];
    let (mut left, mut differ) = (world.size, 0);
    let mut pieces = [vec![0; PIECE], vec![0; PIECE]];
    while left > 0 {
        let bytes = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
        for (file, piece) in files.iter_mut().zip(&mut pieces) {
            file.read_exact(&mut piece[..bytes])?;
        }
        let [one, other] = &pieces;
        if one[..bytes] != other[..bytes] {
            let blocks = one[..bytes].chunks(BLOCK).zip(other[..bytes].chunks(BLOCK));
            let unequal = blocks.filter(|(one, other)| one != other).count();
            differ += u64::try_from(unequal * BLOCK).unwrap_or(u64::MAX);
        }
        left -= u64::try_from(bytes).unwrap_or(left);
    }
    Ok(differ)
}
