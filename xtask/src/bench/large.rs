//! A program as large as a game server's: the loop workload, linked with unused functions and their
//! debugging information.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    process::{self, command},
    workspace,
};

/// Functions of one object, and how often the object is linked: about 30 MB.
const FUNCTIONS: usize = 400;
const COPIES: usize = 96;

/// Compiles it.
pub(super) fn compile(into: &Path) -> Result<PathBuf> {
    let program = into.join("large");
    let (source, object) = (into.join("large.c"), into.join("large.o"));
    std::fs::write(&source, text()).with_context(|| format!("cannot write {}", source.display()))?;
    let mut cc = command("cc");
    cc.args(["-std=c11", "-Og", "-g", "-fno-omit-frame-pointer", "-c", "-o"]).arg(&object).arg(&source);
    process::run(&mut cc)?;
    let mut link = command("cc");
    link.args(["-std=c11", "-O2", "-g", "-fno-omit-frame-pointer", "-fno-builtin", "-pthread", "-o"])
        .arg(&program)
        .arg(workspace::root().join("profiler/tests/workloads/loop.c"));
    // The same object many times: its functions are its own, so no two names clash.
    for copy in 0..COPIES {
        let path = into.join(format!("large{copy}.o"));
        std::fs::copy(&object, &path)?;
        link.arg(path);
    }
    process::run(&mut link)?;
    Ok(program)
}

fn text() -> String {
    let mut text = String::from("#include <stdlib.h>\n#include <string.h>\n");
    for n in 0..FUNCTIONS {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "struct entity_{n} {{ int id_{n}; double position_{n}[3]; struct entity_{n} *next_{n}; }};\n\
             static __attribute__((used)) double update_entity_{n}(struct entity_{n} *entity, int turns) {{\n\
             double sum = 0;\nfor (int turn = 0; turn < turns; turn++) {{\n\
             struct entity_{n} *other = malloc(sizeof *other);\nif (!other) break;\n\
             memcpy(other, entity, sizeof *other);\nfor (int axis = 0; axis < 3; axis++) {{\n\
             double distance = other->position_{n}[axis] - entity->position_{n}[axis] * {n};\n\
             if (distance > sum) sum += distance; else sum -= turn;\n}}\n\
             other->next_{n} = entity->next_{n};\nentity->next_{n} = other;\n}}\nreturn sum;\n}}\n"
        );
    }
    text
}
