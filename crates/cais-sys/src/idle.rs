//! Waiting with next to no memory: malloc_trim(3), madvise(2).

use rustix::io::Errno;
use rustix::mm::{Advice, madvise};

/// Waits for events with as little memory as can be: what `give_back` gives back stays
/// away while this function waits, since nothing else runs.
///
/// # Errors
/// As poll(2).
pub fn poll_without_memory(
    fds: &mut [rustix::event::PollFd<'_>],
    timeout: Option<&rustix::time::Timespec>,
) -> Result<usize, Errno> {
    give_back();
    rustix::event::poll(fds, timeout)
}

/// Gives back memory that a process that only waits has no use for: free heap, and the
/// resident pages of its own code and constants, which the next access takes from the
/// page cache again. What cannot be given back stays.
#[inline]
fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> i32;
        }
        // SAFETY: malloc_trim(3) may be called at any time.
        unsafe { malloc_trim(0) };
    }
    let mut maps = [0u8; 4096];
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open("/proc/self/maps", flags, rustix::fs::Mode::empty()) else {
        return;
    };
    let Ok(length) = rustix::io::read(&file, &mut maps[..]) else {
        return;
    };
    // All are found first: what runs after its own code was given back brings it in again.
    let mut found = [(0usize, 0usize); 8];
    let mut count = 0;
    for line in maps.get(..length).unwrap_or(&[]).split(|byte| *byte == b'\n') {
        let line = core::str::from_utf8(line).unwrap_or("");
        trim_stack(line);
        let bounds = parse_pure_mapping(line);
        if let (Some(bounds), Some(slot)) = (bounds, found.get_mut(count)) {
            *slot = bounds;
            count += 1;
        }
    }
    for (start, end) in found {
        if start != 0 {
            // SAFETY: code, and the constants at the start of the file, are mapped from
            // it and were never written: static executables relocate neither.
            unsafe {
                madvise(
                    core::ptr::with_exposed_provenance_mut(start),
                    end - start,
                    Advice::LinuxDontNeed,
                )
            }
            .unwrap_or_default();
        }
    }
}

/// Gives back what is dead of a stack: what lies well below this call, where earlier, deeper
/// ones left it, and well below the place where this process left the stack that it had before.
#[inline(never)]
fn trim_stack(line: &str) {
    const MARGIN: usize = 16 * 1024;
    let Some((start, end)) = parse_bounds(line) else {
        return;
    };
    let here = core::ptr::from_ref(&line).addr();
    let used_from = match crate::turns::left_stack() {
        Some(left) if line.ends_with("[stack]") => left,
        _ if (start..end).contains(&here) => here,
        _ => return,
    };
    let dead_to = used_from.saturating_sub(MARGIN) & !0xfff;
    if dead_to > start {
        // SAFETY: the pages lie below the stack pointer, or below that of the last frame that
        // is still read, by more than the red zone and than what madvise itself could use;
        // nothing live is in them.
        unsafe {
            madvise(
                core::ptr::with_exposed_provenance_mut(start),
                dead_to - start,
                Advice::LinuxDontNeed,
            )
        }
        .unwrap_or_default();
    }
}

/// The addresses of a line of /proc/self/maps.
fn parse_bounds(line: &str) -> Option<(usize, usize)> {
    let (start, rest) = line.split_once('-')?;
    let (end, _) = rest.split_once(' ')?;
    Some((
        usize::from_str_radix(start, 16).ok()?,
        usize::from_str_radix(end, 16).ok()?,
    ))
}

/// The bounds of a mapping that holds only what its file holds: code (`r-xp`), or the
/// first part of the executable (`r--p` at offset 0). Later read-only parts may have been
/// relocated before they were made read-only.
fn parse_pure_mapping(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (_range, flags, offset) = (words.next()?, words.next()?, words.next()?);
    let (_device, inode) = (words.next()?, words.next()?);
    let pure = flags == "r-xp" || (flags == "r--p" && offset == "00000000");
    if !pure || inode == "0" {
        return None;
    }
    parse_bounds(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_and_the_first_constants_are_pure() {
        let text = "00401000-0054a000 r-xp 00001000 fe:00 42 /usr/bin/cais";
        assert_eq!(parse_pure_mapping(text), Some((0x40_1000, 0x54_a000)));
        assert!(parse_pure_mapping("00400000-00401000 r--p 00000000 fe:00 42 /usr/bin/cais").is_some());
        for other in [
            "0054a000-005b0000 r--p 0014a000 fe:00 42 /usr/bin/cais",
            "005b0000-005b8000 rw-p 001b0000 fe:00 42 /usr/bin/cais",
            "7ffd0000-7ffd2000 r-xp 00000000 00:00 0 [vdso]",
            "",
        ] {
            assert_eq!(parse_pure_mapping(other), None, "{other}");
        }
    }

    #[test]
    fn giving_back_does_no_harm() {
        give_back();
    }
}
