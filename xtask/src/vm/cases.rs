//! Which tests are run on other kernels, and what they need there.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::wire::Case;
use crate::{
    artifacts::Executable,
    process::{self, command},
};

/// The tests of one program.
struct Of {
    program: &'static str,
    /// Those that are always run: loading everything, one exact count, stacks, exec, fork, exceptions, an end by force.
    few: &'static [&'static str],
    /// The others, which take some minutes (`--full`).
    more: &'static [&'static str],
}

/// What the kernel has a part in: loading, attaching, counting, and what happens to a target when things go wrong. Not
/// the tests of names, verdicts and messages, nor those that build with tools at their run time, nor those that expect a
/// cost: in an emulated machine a trap has another price.
const CASES: &[Of] = &[
    Of {
        program: "live_kernel",
        few: &[
            "the_best_way_of_attaching_is_taken",
            "every_program_is_easy_to_verify",
            "every_sampling_program_is_easy_to_verify",
            "every_empty_program_is_easy_to_verify",
            "every_program_that_looks_for_files_is_easy_to_verify",
        ],
        more: &[],
    },
    Of { program: "live_socket_state", few: &["the_state_is_that_of_socket_options"], more: &[] },
    Of {
        program: "live_socket_ages",
        few: &[],
        more: &[
            "ages_are_those_that_the_process_measures",
            "ages_of_unix_sockets_are_those_that_the_process_measures",
        ],
    },
    Of {
        program: "live_socket_events",
        few: &["overruns_are_the_kernels_and_a_reader_that_was_held_up_explains_them"],
        more: &[
            "connects_are_timed_and_refusals_told",
            "a_full_queue_of_connections_drops_more",
            "a_peer_that_stops_reading_is_seen",
            "every_program_is_easy_to_verify",
        ],
    },
    Of {
        program: "live_socket_tables",
        few: &[],
        more: &["connects_and_lives_take_as_long_as_the_process_measures"],
    },
    Of {
        program: "live_exact",
        few: &["glibc", "forked_children_do_not_count"],
        more: &[
            "glibc_static",
            "musl",
            "jemalloc",
            "cpp_libstdcxx",
            "cpp_jemalloc",
            "rust",
            "a_custom_pool",
            "without_multi_links",
            "only_what_is_used_is_loaded",
            "four_processes_by_name",
            "a_command_from_its_first_allocation",
            "two_observers_at_once",
        ],
    },
    Of {
        program: "live_joining",
        few: &[],
        more: &["a_target_that_has_ended_is_forgotten", "calls_of_every_match_of_a_room_server_count"],
    },
    Of {
        program: "live_syscalls",
        few: &["every_call_counts_once", "every_program_is_easy_to_verify"],
        more: &[
            "threads_without_a_slot_or_a_record_count_the_same",
            "threads_without_cells_share_them",
            "calls_that_never_return_end_with_their_threads",
            "an_exec_of_another_thread_counts_once",
        ],
    },
    Of {
        program: "live_syscalls_threads",
        few: &[
            "workers_of_io_uring_hide_no_thread",
            "children_that_become_other_programs_give_their_room_back",
        ],
        more: &["operations_of_io_uring_count", "ten_thousand_short_threads_count_by_name"],
    },
    Of {
        program: "live_files",
        few: &[
            "each_call_has_the_file_that_its_descriptor_referred_to",
            "calls_that_name_files_in_other_ways_have_them_too",
        ],
        more: &[],
    },
    Of {
        program: "live_disk",
        few: &[
            "every_operation_is_counted_for_its_file",
            "operations_through_a_ring_are_counted_for_their_files",
        ],
        more: &[
            "bytes_are_those_that_the_kernel_has_on_its_books",
            "faults_of_files_that_are_on_no_device_are_counted_too",
            "requests_of_libaio_are_counted_for_their_files",
        ],
    },
    Of {
        program: "live_sockets",
        few: &[
            "every_message_and_byte_counts_once_for_its_service",
            "operations_through_a_ring_count_for_their_service",
            "sends_on_a_descriptor_that_changes_are_never_counted_for_another_socket",
            "datagrams_count_for_the_address_of_the_other_side",
            "connects_that_nobody_answers_are_found",
            "a_log_does_not_hide_round_trips",
            "resets_count_for_the_side_that_sends_them_and_the_other",
        ],
        more: &[],
    },
    Of { program: "live_doctor", few: &["tools_say_what_they_do_not_find_out_on_this_kernel"], more: &[] },
    Of { program: "live_stacks", few: &["without_frame_pointers", "a_library_loaded_later"], more: &[] },
    Of {
        program: "live_faults",
        few: &[
            "profiler_killed_at_random_moments",
            "target_replaces_itself",
            "children_that_allocate_and_exit",
            "an_exception_through_a_probed_function",
            "an_exception_out_of_a_programs_own_operator_new",
        ],
        more: &[
            "nothing_is_left_after_a_normal_end",
            "target_killed_at_random_moments",
            "target_exits_while_observed",
            "target_replaces_itself_unnoticed",
            "a_thread_storm",
            "a_library_that_comes_and_goes",
            "longjmp_out_of_a_probed_function",
            "an_exception_out_of_operator_new",
            "a_seccomp_filter",
            "a_stopped_target",
        ],
    },
    Of {
        program: "live_harm",
        few: &["a_target_that_died_of_our_breakpoints", "growth_by_mmap_is_reported_first"],
        more: &[
            "a_program_that_shows_that_it_copies_its_code",
            "an_allocator_that_was_moved_out_of_reach",
            "code_that_was_moved_keeps_its_names_and_callers",
            "growth_of_thread_stacks_is_reported_first",
            "a_target_that_is_stopped_or_idle_is_reported",
            "a_target_that_dies_while_it_is_attached_to",
        ],
    },
    Of {
        program: "live_cost",
        few: &["without_multi_links_the_cost_of_the_first_seconds_decides"],
        more: &[],
    },
    Of {
        program: "live_launch",
        few: &["nothing_outlives_a_killed_profiler", "a_command_never_runs_if_its_observation_cannot_begin"],
        more: &[
            "the_end_of_the_time_ends_the_command_and_what_it_started",
            "a_command_that_ignores_sigterm_is_killed_after_its_grace",
            "an_interrupt_ends_the_command_and_gives_the_report",
            "processes_that_a_command_leaves_behind_are_ended_too",
            "the_command_does_not_outlive_profiler_and_keeper",
            "a_command_that_is_left_running_keeps_running",
            "a_command_that_fails_fails_a_gate",
        ],
    },
    Of {
        program: "live_names",
        few: &[],
        more: &["the_binary_was_replaced_before", "in_a_mount_namespace", "in_another_root"],
    },
];

/// How many of the cases are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breadth {
    /// What a run of all tests can wait for.
    Few,
    /// Every one.
    All,
}

/// Programs that these tests start beside their workloads.
pub(super) const TOOLS: [&str; 6] = ["sh", "unshare", "mount", "chroot", "sleep", "touch"];

/// What a test says of each workload that it built.
const BUILT: &str = "BUILT ";

impl Of {
    /// Those of its tests whose name contains `filter`.
    fn wanted(&self, breadth: Breadth, filter: Option<&str>) -> impl Iterator<Item = &'static str> {
        let more = if breadth == Breadth::All { self.more } else { &[] };
        let all = self.few.iter().chain(more).copied();
        all.filter(move |test| filter.is_none_or(|filter| test.contains(filter)))
    }
}

/// The test programs that have a case whose name contains `filter`.
pub(super) fn programs(breadth: Breadth, filter: Option<&str>) -> impl Iterator<Item = &'static str> {
    let has_one = move |of: &&Of| of.wanted(breadth, filter).next().is_some();
    CASES.iter().filter(has_one).map(|of| of.program)
}

/// The cases whose name contains `filter`, with the programs that cargo built.
///
/// # Errors
/// A test that is named here and is no longer there.
pub(super) fn select(built: &[Executable], breadth: Breadth, filter: Option<&str>) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for of in CASES {
        let program = of.program;
        if of.wanted(breadth, filter).next().is_none() {
            continue;
        }
        let is_it = |executable: &&Executable| executable.is_test && executable.name == program;
        let built = built.iter().find(is_it).with_context(|| format!("cargo built no test `{program}`"))?;
        let list = process::ask(command(&built.path).args(["--list", "--format", "terse"]))
            .with_context(|| format!("cannot list the tests of {program}"))?;
        let is_there = |test| list.lines().any(|line| line.strip_suffix(": test") == Some(test));
        if let Some(gone) = of.few.iter().chain(of.more).find(|test| !is_there(test)) {
            bail!("{program} has no test {gone}, which is to run on other kernels");
        }
        for test in of.wanted(breadth, filter) {
            let (file, directory) = (built.path.clone(), built.package_dir.clone());
            cases.push(Case { program: program.to_owned(), file, directory, test: test.to_owned() });
        }
    }
    Ok(cases)
}

/// Builds the workloads of the cases, and returns all of their files. Nothing is run.
pub(super) fn build_workloads(cases: &[Case], workloads: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    for case in cases {
        let mut test = Command::new(&case.file);
        test.args(["--exact", &case.test, "--nocapture"]).current_dir(&case.directory);
        test.env("PROFILER_WORKLOADS", workloads).env("PROFILER_ONLY_BUILD", "1");
        let output = test.output().with_context(|| format!("cannot run {}", case.file.display()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            bail!("cannot build the workloads of {} {}:\n{said}", case.program, case.test);
        }
        files.extend(said.lines().filter_map(|line| line.strip_prefix(BUILT)).map(PathBuf::from));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_test_is_listed_once() {
        for Of { program, few, more } in CASES {
            let all: Vec<_> = few.iter().chain(*more).collect();
            let different: BTreeSet<_> = all.iter().collect();
            assert_eq!(different.len(), all.len(), "{program}");
        }
    }

    #[test]
    fn a_test_that_is_gone_is_not_passed_over() {
        let this = Executable {
            package_dir: "/".into(),
            name: "live_kernel".into(),
            kind: "test".into(),
            is_test: true,
            path: std::env::current_exe().unwrap(),
        };
        let error = select(&[this], Breadth::Few, None).unwrap_err().to_string();
        assert_eq!(
            error,
            "live_kernel has no test the_best_way_of_attaching_is_taken, which is to run on other kernels"
        );
        assert!(select(&[], Breadth::All, None).unwrap_err().to_string().contains("no test `live_kernel`"));
    }

    #[test]
    fn only_programs_with_a_wanted_case_are_built() {
        let programs = |breadth, filter| programs(breadth, filter).collect::<Vec<_>>();
        assert_eq!(programs(Breadth::All, None), CASES.iter().map(|of| of.program).collect::<Vec<_>>());
        assert_eq!(programs(Breadth::Few, Some("forked_children_do")), ["live_exact"]);
        // One that is not among the few.
        assert!(programs(Breadth::Few, Some("in_another_root")).is_empty());
        assert_eq!(programs(Breadth::All, Some("in_another_root")), ["live_names"]);
        assert!(select(&[], Breadth::Few, Some("in_another_root")).unwrap().is_empty());
    }
}
