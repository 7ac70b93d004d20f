//! What a refusal of the kernel means.

use std::io;

use super::check::{Answer, Check, Question};

/// What to conclude from a kernel call that failed. `privileged`: whether we have the privileges that it takes.
fn judge(error: &io::Error, privileged: bool) -> (Answer, String) {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) if !privileged => {
            (Answer::CannotTell, "trying takes privileges that are missing".to_owned())
        }
        Some(libc::EPERM | libc::EACCES) => (
            Answer::No,
            format!(
                "refused ({error}) although the capabilities are there: by a seccomp filter, a security module, \
                 lockdown, or because this is not the first user namespace"
            ),
        ),
        Some(libc::ENOSYS) => {
            (Answer::No, format!("{error}: this kernel was built without it, or a seccomp filter hides it"))
        }
        Some(libc::EINVAL | libc::EOPNOTSUPP | libc::ENOENT | libc::ENODEV) => {
            (Answer::No, format!("this kernel does not know it ({error})"))
        }
        _ => (Answer::CannotTell, format!("the try failed for another reason: {error}")),
    }
}

/// The check of a question that a kernel call answers. `yes`: the words for success.
pub(super) fn tried(question: &Question, result: io::Result<()>, privileged: bool, yes: &str) -> Check {
    let Err(error) = result else { return question.answered(Answer::Yes, yes) };
    let (answer, seen) = judge(&error, privileged);
    let check = question.answered(answer, seen);
    if answer == Answer::CannotTell && !privileged { check.untried() } else { check }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_privilege_says_nothing_about_the_kernel() {
        let answer = |code, privileged| judge(&io::Error::from_raw_os_error(code), privileged).0;
        assert_eq!(answer(libc::EPERM, false), Answer::CannotTell);
        assert_eq!(answer(libc::EPERM, true), Answer::No);
        assert_eq!(answer(libc::ENOSYS, false), Answer::No);
        assert_eq!(answer(libc::EINVAL, true), Answer::No);
        assert_eq!(answer(libc::ENOMEM, true), Answer::CannotTell);
        assert_eq!(answer(libc::EMFILE, true), Answer::CannotTell);
    }
}
