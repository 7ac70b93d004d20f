//! `profiler doctor`.

use std::io::{ErrorKind as IoError, Write as _};

use profiler::{
    doctor,
    error::{Error, ErrorKind},
    render,
};

use super::{
    Done,
    args::{DoctorArgs, DoctorFormat},
    output,
};

/// Examines and writes what was found.
pub(crate) fn run(args: &DoctorArgs) -> Done {
    let diagnosis = doctor::examine(args.pid)?;
    let mut page = Vec::new();
    let rendered = match args.format {
        DoctorFormat::Json => render::write_json(&diagnosis, &mut page),
        DoctorFormat::Human => page.write_all(
            render::diagnosis(&diagnosis, output::width(), output::colour(args.no_color)).as_bytes(),
        ),
    };
    let mut out = std::io::stdout().lock();
    rendered.and_then(|()| out.write_all(&page)).and_then(|()| out.flush()).map_err(|cause| {
        let error = Error::new(ErrorKind::Output, "tried to write to standard output");
        match cause.kind() {
            IoError::BrokenPipe => error.because("whatever was reading it has ended"),
            _ => error.because_of(&cause),
        }
        .hint("write it to a file instead: profiler doctor > doctor.txt")
    })?;
    Ok(diagnosis.exit_code())
}
