//! Identifiers of stacks that stay the same in another run, on another machine, or in another build, unlike addresses.

use twox_hash::XxHash64;

use super::{Frame, Report, Stack};
use crate::text::Text;

/// Length of an id in characters.
const LENGTH: usize = 16;

impl Report {
    /// Fills the ids and keys that are missing.
    pub(super) fn identify_stacks(&mut self) {
        identify(&mut self.stacks, &self.frames);
    }
}

/// Fills the ids and keys that are missing; `frames` are those that the stacks refer to.
pub(crate) fn identify(stacks: &mut [Stack], frames: &[Frame]) {
    for stack in stacks {
        let of_stack = || stack.frames.iter().filter_map(|&index| frames.get(index));
        if stack.id.is_empty() {
            stack.id = hashed(of_stack(), write_place);
        }
        if stack.key.is_empty() {
            stack.key = hashed(of_stack(), write_names);
        }
    }
}

/// Whether it has the form of an id.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == LENGTH && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn hashed<'a>(frames: impl Iterator<Item = &'a Frame>, write: fn(&mut Vec<u8>, &Frame)) -> String {
    let mut bytes = Vec::new();
    frames.for_each(|frame| write(&mut bytes, frame));
    format!("{:016x}", XxHash64::oneshot(0, &bytes))
}

/// Appends the place of a frame's code: a letter for its kind, a name with a zero byte behind it, and an offset of eight bytes,
/// little endian.
fn write_place(out: &mut Vec<u8>, frame: &Frame) {
    match (&frame.module, frame.file_offset, &frame.made) {
        (_, _, Some(made)) => {
            let by = made.by.as_deref().unwrap_or_default();
            match frame.functions.is_empty() {
                // The runtime compiles the same function to another address each time.
                false => {
                    write(out, b'n', by.as_bytes());
                    write_names(out, frame);
                }
                true => {
                    write(out, b'm', by.as_bytes());
                    out.extend(made.offset.to_le_bytes());
                }
            }
        }
        (Some(module), offset, None) => {
            match &frame.build_id {
                Some(build_id) => write(out, b'b', build_id.as_bytes()),
                None => write(out, b'f', base_name(module)),
            }
            out.extend(offset.unwrap_or_default().to_le_bytes());
        }
        (None, _, None) => {
            write(out, b'u', b"");
            write_names(out, frame);
        }
    }
}

/// Appends the names of a frame's functions, each with a zero byte behind it, or the name of its file if it has no function.
/// Inlined functions count like called ones, so the result does not depend on which calls a compiler inlines.
fn write_names(out: &mut Vec<u8>, frame: &Frame) {
    for function in &frame.functions {
        write(out, b'n', function.name.raw());
    }
    if frame.functions.is_empty() {
        write(out, b'f', frame.module.as_ref().map_or(&[], base_name));
    }
}

fn write(out: &mut Vec<u8>, kind: u8, name: &[u8]) {
    out.push(kind);
    out.extend(name);
    out.push(0);
}

fn base_name(path: &Text) -> &[u8] {
    path.raw().rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Made, sample};

    /// The id and the key of the first stack of a report, after a change of its frames.
    fn changed(change: impl Fn(&mut Frame)) -> (String, String) {
        let mut report = sample::pong();
        report.frames.iter_mut().for_each(change);
        let stack = &mut report.stacks[0];
        (stack.id, stack.key) = Default::default();
        identify(&mut report.stacks, &report.frames);
        (report.stacks[0].id.clone(), report.stacks[0].key.clone())
    }

    #[test]
    fn ids_stay_as_they_are_from_version_to_version() {
        let report = sample::pong();
        let ids: Vec<(&str, &str)> =
            report.stacks.iter().map(|stack| (stack.id.as_str(), stack.key.as_str())).collect();
        assert_eq!(
            ids,
            [
                ("93b770476f657e6f", "541349a9e0d65b80"),
                ("fa711be26cf0b22a", "6392d3ab45b36bac"),
                ("ed969d298088f449", "f7cad4f2ef1b7796")
            ]
        );
        assert!(ids.iter().all(|(id, key)| is_id(id) && is_id(key)));
    }

    #[test]
    fn another_run_and_another_place_of_the_file_change_nothing() {
        let same = changed(|_| {});
        assert_eq!(changed(|frame| frame.address += 0x1000), same);
        assert_eq!(
            changed(|frame| frame.module = Some("/srv/other/place".into())),
            same,
            "it has a build id"
        );
        let without = |directory: &str| {
            let directory = directory.to_owned();
            changed(move |frame| {
                frame.build_id = None;
                frame.module = Some(Text::from(format!("{directory}/server")));
            })
        };
        assert_eq!(without("/opt"), without("/srv"));
        assert_ne!(without("/opt").0, same.0);
    }

    #[test]
    fn another_build_has_another_id_and_the_same_key() {
        let (id, key) = changed(|_| {});
        let (other_id, other_key) = changed(|frame| {
            frame.build_id = Some("ffff".into());
            frame.file_offset = frame.file_offset.map(|offset| offset + 64);
            // The other build calls what this one inlines.
            frame.functions.iter_mut().for_each(|function| function.inlined = false);
        });
        assert_ne!(id, other_id);
        assert_eq!(key, other_key);
        assert_ne!(key, changed(|frame| frame.functions.clear()).1);
    }

    #[test]
    fn code_made_at_run_time_goes_by_its_function_else_by_its_offset() {
        let made = |offset, named: bool| {
            changed(move |frame| {
                (frame.module, frame.build_id, frame.file_offset) = (None, None, None);
                frame.made = Some(Made { by: Some("V8".into()), offset });
                if !named {
                    frame.functions.clear();
                }
            })
        };
        assert_eq!(made(1, true), made(2, true));
        assert_ne!(made(1, false).0, made(2, false).0);
        assert_eq!(made(1, false).1, made(2, false).1);
    }

    #[test]
    fn names_that_run_together_stay_apart() {
        let of = |functions: [&str; 2]| {
            let mut report = sample::pong();
            for (frame, name) in report.frames.iter_mut().zip(functions) {
                frame.functions.truncate(1);
                frame.functions[0].name = name.into();
            }
            report.stacks[0] = Stack { frames: vec![0, 1], ..Stack::default() };
            identify(&mut report.stacks, &report.frames);
            report.stacks[0].key.clone()
        };
        assert_ne!(of(["ab", "c"]), of(["a", "bc"]));
    }
}
