//! Reads of partitions that no cache answers: the first block, the last one, and one in between
//! that moves from look to look. A read that is stuck keeps its thread and gets no company: it is
//! no answer at first, and wrong from the next look on.

use super::spec::Found;
use super::worst;
use crate::act::work::{self, Unfinished};
use lockstep_engine::units::Tick;
use rustix::fs::OFlags;
use std::fs::OpenOptions;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::task::JoinSet;

/// Size and alignment of a read; direct reads of every disk allow it.
const BLOCK_BYTES: usize = 4096;
const BLOCK: u64 = 4096;
/// Odd and far from any power of two: the block in between comes everywhere.
const STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;

/// Looks of this process, for the block in between.
static LOOKS: AtomicU64 = AtomicU64::new(0);

pub(super) async fn probe(paths: &[PathBuf], deadline: Tick) -> Found {
    if paths.is_empty() {
        return Found::NoAnswer("disk: no partitions; write at least one".to_owned());
    }
    let mut reads = JoinSet::new();
    for path in paths.iter().cloned() {
        reads.spawn(async move { read(path, deadline).await });
    }
    let mut all = Vec::new();
    while let Some(found) = reads.join_next().await {
        all.push(found.unwrap_or_else(|cause| Found::NoAnswer(cause.to_string())));
    }
    worst(all)
}

async fn read(path: PathBuf, deadline: Tick) -> Found {
    let look = LOOKS.fetch_add(1, Ordering::Relaxed).wrapping_mul(STRIDE);
    let shown = path.display().to_string();
    let key = format!("read {shown}");
    match work::run_if_free("disk", &key, deadline, move || read_now(&path, look)).await {
        Ok(Ok(())) => Found::Fine,
        Ok(Err(cause)) => Found::Wrong(format!("disk {shown}: {cause}")),
        Err(stuck @ Unfinished::Busy { .. }) => Found::Wrong(format!("disk {shown}: {stuck}")),
        Err(cause) => Found::NoAnswer(format!("disk {shown}: {cause}")),
    }
}

fn read_now(path: &Path, look: u64) -> io::Result<()> {
    let flags = i32::try_from(OFlags::DIRECT.bits()).map_err(io::Error::other)?;
    let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let blocks = file.seek(SeekFrom::End(0))? / BLOCK;
    if blocks == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it holds not even one block"));
    }
    // Twice the size holds an aligned block, wherever it begins.
    let mut memory = vec![0_u8; 2 * BLOCK_BYTES];
    let from = memory.as_ptr().align_offset(BLOCK_BYTES);
    let block = memory
        .get_mut(from..from.saturating_add(BLOCK_BYTES))
        .ok_or_else(|| io::Error::other("no aligned memory"))?;
    for at in [0, look % blocks, blocks - 1] {
        file.read_exact_at(block, at * BLOCK).map_err(|cause| {
            io::Error::new(cause.kind(), format!("read at byte {}: {cause}", at * BLOCK))
        })?;
    }
    Ok(())
}
