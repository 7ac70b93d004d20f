//! `profiler doctor`.

use std::io::Write as _;

use profiler::{
    doctor,
    render::{self, HumanOptions},
};

use super::{
    Done,
    args::{DoctorArgs, DoctorFormat, Voice},
    output,
    terminal::Terminal,
};

/// Examines and writes what was found.
pub(crate) fn run(args: &DoctorArgs, voice: &Voice) -> Done {
    let diagnosis = doctor::examine(args.pid, !args.no_count)?;
    let terminal = Terminal::stdout(args.no_color);
    let mut page = Vec::new();
    let rendered = match args.format {
        DoctorFormat::Json => render::write_json(&diagnosis, &mut page),
        DoctorFormat::Human => {
            let options = HumanOptions { verbose: voice.verbose > 0, ..terminal.options() };
            let text = render::diagnosis(&diagnosis, &options);
            let whole = terminal.with_answer_last(text, || render::verdict(&diagnosis, &options));
            page.write_all(whole.as_bytes())
        }
    };
    rendered.map_err(output::failed)?;
    output::print(&page)?;
    Ok(diagnosis.exit_code())
}
