//! Where the programs find members of structures of the kernel.

use crate::kernel::types::Types;

/// Where the programs find the operation, the file and the result of a request of io_uring. Zeroes if the kernel has no io_uring.
pub(super) fn ring(types: &Types) -> [(&'static str, Vec<u8>); 8] {
    let offset =
        |structure: &str, path: &[&str]| types.offset(structure, path).unwrap_or(0).to_ne_bytes().to_vec();
    // What a request has of its own has a type of its own, which no member names.
    let own = |structure: &str, member: &str| {
        let begin = types.offset("io_kiocb", &["cmd"]);
        let place = begin.and_then(|begin| Some(begin + types.offset(structure, &[member])?));
        place.unwrap_or(0).to_ne_bytes().to_vec()
    };
    let has_entry = u32::from(types.has_argument("io_uring_complete", "cqe"));
    [
        ("REQUEST_OPCODE", offset("io_kiocb", &["opcode"])),
        ("REQUEST_RING", offset("io_kiocb", &["ctx"])),
        ("RING_REQUEST_FLAGS", offset("io_kiocb", &["flags"])),
        ("RING_SYNC_FLAGS", own("io_sync", "flags")),
        ("RING_MESSAGE_FLAGS", own("io_sr_msg", "msg_flags")),
        ("REQUEST_FILE", offset("io_kiocb", &["file"])),
        ("ENTRY_RESULT", offset("io_uring_cqe", &["res"])),
        ("HAS_ENTRY", has_entry.to_ne_bytes().to_vec()),
    ]
}

/// Where the programs find the file of a mapping. A file of an overlay stands in for another since Linux 6.8.
pub(super) fn mappings(types: &Types) -> [(&'static str, Vec<u8>); 4] {
    let is_new = is_at_least(&rustix::system::uname().release().to_string_lossy(), [6, 14]);
    // `FMODE_BACKING` (include/linux/fs.h): bit 25, and bit 24 since Linux 6.14.
    let backing: u32 = if is_new { 1 << 24 } else { 1 << 25 };
    let offset =
        |structure: &str, path: &[&str]| types.offset(structure, path).unwrap_or(0).to_ne_bytes().to_vec();
    [
        ("AREA_FILE", offset("vm_area_struct", &["vm_file"])),
        ("FILE_FLAGS", offset("file", &["f_mode"])),
        ("BACKING_PATH", offset("backing_file", &["user_path"])),
        ("BACKING", backing.to_ne_bytes().to_vec()),
    ]
}

/// Whether the name of a release of the kernel, such as `6.12.48+deb13-amd64`, is that of this version or a later one.
fn is_at_least(release: &str, version: [u32; 2]) -> bool {
    let mut numbers =
        release.split(|letter: char| !letter.is_ascii_digit()).map_while(|word| word.parse().ok());
    [numbers.next(), numbers.next()].map(Option::unwrap_or_default) >= version
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_their_numbers() {
        for (release, is_new) in [
            ("6.14.0", true),
            ("6.18.44-fc-v657", true),
            ("7.0-rc1", true),
            ("6.12.48+deb13-amd64", false),
            ("6.9", false),
            ("unknown", false),
        ] {
            assert_eq!(is_at_least(release, [6, 14]), is_new, "{release}");
        }
    }
}
