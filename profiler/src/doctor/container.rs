//! The container that a process is in.

/// Prefixes of the scopes of containers, by container manager.
const MANAGERS: [&str; 6] = ["docker", "libpod", "cri-containerd", "crio", "containerd", "nerdctl"];
/// Digits of an id that are shown, as many as the managers themselves show.
const SHOWN: usize = 12;
/// Digits of a whole id.
const ID: usize = 64;

/// The container that a cgroup belongs to, by the names that container managers give: `docker-ID.scope`, `/docker/ID`,
/// `/kubepods/.../ID`, `cri-containerd-ID.scope`, `libpod-ID.scope`, `/lxc/NAME`, `/lxc.payload.NAME`. `text` is
/// `/proc/PID/cgroup`.
pub(super) fn of_cgroup(text: &str) -> Option<String> {
    let paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.flat_map(|path| path.rsplit('/').zip(path.rsplit('/').skip(1))).find_map(|(name, parent)| {
        let scope = name.strip_suffix(".scope").unwrap_or(name);
        if let Some(id) = id(scope) {
            let manager = if MANAGERS.contains(&parent) { parent } else { "container" };
            return Some(format!("{manager} {id}"));
        }
        if let Some((manager, rest)) = scope.rsplit_once('-')
            && MANAGERS.contains(&manager)
        {
            return Some(format!("{manager} {}", id(rest)?));
        }
        let lxc = scope.strip_prefix("lxc.payload.").or((parent == "lxc").then_some(scope));
        lxc.map(|name| format!("lxc {name}"))
    })
}

fn id(text: &str) -> Option<&str> {
    let fits = text.len() == ID && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.get(..SHOWN).filter(|_| fits)
}

#[cfg(test)]
mod tests {
    use super::of_cgroup;

    const ONE: &str = "3f2a9c0d1e4b5a69788796a5b4c3d2e1f00112233445566778899aabbccddeef";

    #[test]
    fn containers_are_known_by_their_cgroups() {
        for (path, name) in [
            (format!("0::/system.slice/docker-{ONE}.scope\n"), "docker 3f2a9c0d1e4b"),
            (format!("12:memory:/docker/{ONE}\n0::/\n"), "docker 3f2a9c0d1e4b"),
            (
                format!("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ONE}.scope\n"),
                "cri-containerd 3f2a9c0d1e4b",
            ),
            (
                format!("0::/user.slice/user@1000.service/user.slice/libpod-{ONE}.scope/container\n"),
                "libpod 3f2a9c0d1e4b",
            ),
            (format!("5:cpu:/kubepods/burstable/pod1-2/{ONE}\n"), "container 3f2a9c0d1e4b"),
            ("0::/lxc.payload.world-1\n".to_owned(), "lxc world-1"),
            ("3:cpu:/lxc/world-1\n".to_owned(), "lxc world-1"),
        ] {
            assert_eq!(of_cgroup(&path).as_deref(), Some(name), "{path}");
        }
    }

    #[test]
    fn services_and_sessions_are_none() {
        for path in [
            "0::/system.slice/game.service\n",
            "0::/user.slice/user-1000.slice/session-12.scope\n",
            "0::/\n",
            "",
            "garbage",
            "0::/user.slice/app-builder-0123456789ab.scope\n",
            "0::/system.slice/system-getty.slice/getty@tty1.service\n",
        ] {
            assert_eq!(of_cgroup(path), None, "{path}");
        }
    }
}
