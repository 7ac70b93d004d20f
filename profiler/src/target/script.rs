//! The script that an interpreter runs: people know the process by its name, not by `python3` or `java`.

/// How to find the script in the command line of an interpreter.
struct Interpreter {
    /// Prefix of the file name of the executable; a version may follow.
    name: &'static str,
    /// Options that take the next argument as their value.
    with_value: &'static [&'static str],
    /// Options whose value is what is run: a module, or an archive.
    runs: &'static [&'static str],
    /// Options after which the code itself follows on the command line.
    inline: &'static [&'static str],
}

const SHELL: Interpreter = Interpreter {
    name: "sh",
    with_value: &["-o", "+o", "-O", "+O", "--rcfile", "--init-file"],
    runs: &[],
    inline: &["-c", "-s"],
};

const INTERPRETERS: &[Interpreter] = &[
    Interpreter {
        name: "python",
        with_value: &["-W", "-X", "--check-hash-based-pycs"],
        runs: &["-m"],
        inline: &["-c"],
    },
    Interpreter { name: "pypy", with_value: &["-W", "-X"], runs: &["-m"], inline: &["-c"] },
    Interpreter {
        name: "node",
        with_value: &[
            "-r",
            "--require",
            "--import",
            "--loader",
            "--experimental-loader",
            "-C",
            "--conditions",
        ],
        runs: &[],
        inline: &["-e", "--eval", "-p", "--print", "-pe"],
    },
    Interpreter { name: "ruby", with_value: &["-I", "-r", "-C", "-E"], runs: &[], inline: &["-e"] },
    Interpreter { name: "perl", with_value: &["-I"], runs: &[], inline: &["-e", "-E"] },
    Interpreter { name: "php", with_value: &["-c", "-d", "-z"], runs: &["-f"], inline: &["-r"] },
    Interpreter { name: "lua", with_value: &["-l", "-j"], runs: &[], inline: &["-e"] },
    Interpreter {
        name: "java",
        with_value: &[
            "-cp",
            "-classpath",
            "--class-path",
            "-p",
            "--module-path",
            "--add-modules",
            "--add-opens",
            "--add-exports",
        ],
        runs: &["-jar", "-m", "--module"],
        inline: &[],
    },
    Interpreter { name: "mono", with_value: &["--config"], runs: &[], inline: &[] },
    Interpreter {
        name: "dotnet",
        with_value: &["--fx-version", "--depsfile", "--runtimeconfig"],
        runs: &[],
        inline: &[],
    },
    Interpreter { name: "bash", ..SHELL },
    Interpreter { name: "dash", ..SHELL },
    Interpreter { name: "zsh", ..SHELL },
    SHELL,
];

/// The file name of the script, module or archive that a command line runs, if `executable` is a known interpreter.
/// `executable` is the file name of the executable, `arguments` the contents of `/proc/PID/cmdline`.
pub(super) fn script_of(executable: &[u8], arguments: &[u8]) -> Option<Vec<u8>> {
    let interpreter = INTERPRETERS.iter().find(|interpreter| interpreter.is(executable))?;
    let mut words = arguments.split(|byte| *byte == 0).skip(1).filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        let is = |options: &[&str]| options.iter().any(|option| option.as_bytes() == word);
        if is(interpreter.inline) {
            return None;
        }
        if is(interpreter.runs) {
            return words.next().map(file_name);
        }
        if is(interpreter.with_value) {
            words.next();
        } else if word == b"--" {
            return words.next().map(file_name);
        } else if !word.starts_with(b"-") {
            return Some(file_name(word));
        }
    }
    None
}

impl Interpreter {
    /// `python3.11` and `luajit-2.1` match `python` and `lua`; `nodemanager` does not match `node`.
    fn is(&self, executable: &[u8]) -> bool {
        let Some(rest) = executable.strip_prefix(self.name.as_bytes()) else { return false };
        let rest = rest.strip_prefix(b"jit").or(rest.strip_prefix(b"js")).unwrap_or(rest);
        rest.iter().all(|byte| byte.is_ascii_digit() || b".-".contains(byte))
    }
}

fn file_name(path: &[u8]) -> Vec<u8> {
    path.rsplit(|byte| *byte == b'/').find(|part| !part.is_empty()).unwrap_or(path).to_vec()
}

#[cfg(test)]
mod tests {
    use super::script_of;

    fn script(words: &str) -> Option<String> {
        let arguments = words.replace(' ', "\0") + "\0";
        let executable = words.split(' ').next().unwrap();
        script_of(executable.as_bytes(), arguments.as_bytes()).map(|name| String::from_utf8(name).unwrap())
    }

    #[test]
    fn scripts_are_found_behind_options() {
        for (words, name) in [
            ("python3 server.py", Some("server.py")),
            ("python3.11 -u -W ignore /opt/game/server.py --port 1", Some("server.py")),
            ("python -m http.server 80", Some("http.server")),
            ("python3 -c pass server.py", None),
            ("python3", None),
            ("node --perf-basic-prof -r ts-node/register /srv/app.js", Some("app.js")),
            ("nodejs app.js", Some("app.js")),
            ("node -e 1", None),
            ("java -Xmx1g -jar /opt/paper.jar nogui", Some("paper.jar")),
            ("java -cp a.jar:b.jar net.minecraft.server.Main nogui", Some("net.minecraft.server.Main")),
            ("bash -o pipefail ./start.sh", Some("start.sh")),
            ("bash -c ./start.sh", None),
            ("sh start.sh", Some("start.sh")),
            ("luajit-2.1 -l x main.lua", Some("main.lua")),
            ("ruby -- -odd.rb", Some("-odd.rb")),
            ("mono /srv/World.exe", Some("World.exe")),
            ("nodemanager app.js", None),
            ("redis-server app.js", None),
        ] {
            assert_eq!(script(words).as_deref(), name, "{words}");
        }
    }
}
