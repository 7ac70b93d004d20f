//! `profiler doctor`.

use std::io::Write as _;

use profiler::{doctor, render};

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
    rendered.map_err(|cause| output::failed(&cause))?;
    output::print(&page)?;
    Ok(diagnosis.exit_code())
}
