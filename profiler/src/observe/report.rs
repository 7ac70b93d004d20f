//! The report of an observation: the parts of its tools, put together.

use std::collections::BTreeMap;

use super::{brief, observation::Observation, remarks, run::Run, space::Space};
use crate::{
    error::Result,
    report::{
        Coverage, Ended, FileNames, Finding, Frame, Ledger, Meta, Report, SCHEMA, Section, Stack, Summary,
        Target,
    },
    stack::walks::walks,
    text::Text,
};

/// The name of the remark on quality that counts stacks without a process.
const UNKNOWN_STACKS: &str = "stack_of_unobserved_process";

/// A tool's part of the report.
#[derive(Debug, Default)]
pub(crate) struct Part {
    /// The settings of the tool, beside those of every observation.
    pub(crate) settings: BTreeMap<String, String>,
    /// Findings, the most important first. They refer to its own sections.
    pub(crate) findings: Vec<Finding>,
    /// Tables. They refer to its own stacks.
    pub(crate) sections: Vec<Section>,
    /// The stacks of the tables. They refer to its own frames.
    pub(crate) stacks: Vec<Stack>,
    pub(crate) frames: Vec<Frame>,
    /// The outcomes of its hits.
    pub(crate) ledger: Vec<Ledger>,
    /// Remarks of the kernel side on quality, by name.
    pub(crate) quality: BTreeMap<String, u64>,
    /// Losses that could change the answer, each with advice.
    pub(crate) losses: Vec<String>,
    /// Numbers of all stacks that it walked, and how often.
    pub(crate) walked: Vec<(u32, u64)>,
    /// What existed before the observation, and is not judged.
    pub(crate) before_attach: Option<String>,
    /// Names of threads as the kernel side has them, by the number of their address space and their id.
    pub(crate) names: BTreeMap<(u16, u32), Text>,
    /// Hits of all its probes.
    pub(crate) hits: u64,
}

impl Run<'_> {
    /// The report at this moment.
    pub(super) fn report(&mut self, ended: Ended) -> Result<Report> {
        // Records that are still in the ring belong to the report.
        self.drain(&mut |_| {})?;
        let Run { on, tools, .. } = self;
        tools.iter_mut().try_for_each(|tool| tool.snapshot(on, ended))?;
        find_names(on, ended);
        let parts = tools.iter_mut().map(|tool| tool.conclude(on)).collect::<Result<Vec<Part>>>()?;
        let mut report = self.put_together(parts, ended);
        report.sum_up();
        Ok(report)
    }

    fn put_together(&mut self, parts: Vec<Part>, ended: Ended) -> Report {
        let hits = parts.iter().map(|part| part.hits).sum();
        let names = parts.iter().flat_map(|part| part.names.clone()).collect();
        let mut meta = self.meta(hits, ended, &names);
        let walked: Vec<(u32, u64)> = parts.iter().flat_map(|part| &part.walked).copied().collect();
        let on = &self.on;
        let mut report = Report {
            schema: SCHEMA,
            meta: meta.clone(),
            verdict: Summary::default(),
            findings: Vec::new(),
            sections: Vec::new(),
            stacks: Vec::new(),
            frames: Vec::new(),
            coverage: Coverage {
                walks: Some(walks(&walked, &on.stacks, on.spaces.as_slice(), &on.modules)),
                files: files(on),
                ..Coverage::default()
            },
        };
        let several = parts.len() > 1;
        for (mut part, tool) in parts.into_iter().zip(&self.tools) {
            let name = tool.about().name;
            let settings = std::mem::take(&mut part.settings).into_iter();
            // Equal names of two tools mean different things.
            let of_tool = |key: String| if several { format!("{name}.{key}") } else { key };
            meta.settings.extend(settings.map(|(key, value)| (of_tool(key), value)));
            add(&mut report, part);
        }
        if self.unknown_stacks > 0 {
            report.coverage.quality.insert(UNKNOWN_STACKS.to_owned(), self.unknown_stacks);
        }
        let losses = remarks::losses(on.ground.missed(), self.joining.no_room);
        let facts = remarks::Facts {
            ended,
            length: on.lasted(),
            targets: &meta.targets,
            others: self.joining.remarks(),
            losses: &losses,
        };
        remarks::add(&mut report.findings, &facts);
        report.coverage.incomplete_because.extend(losses);
        report.coverage.complete = report.coverage.incomplete_because.is_empty();
        report.meta = meta;
        report
    }

    fn meta(&mut self, hits: u64, ended: Ended, names: &BTreeMap<(u16, u32), Text>) -> Meta {
        let uname = rustix::system::uname();
        let tools: Vec<&str> = self.tools.iter().map(|tool| tool.about().name).collect();
        let on = &mut self.on;
        let settings = on.settings;
        let common = [("max_stacks".to_owned(), settings.max_stacks.to_string())];
        let length = on.lasted();
        let maps = on.ground.maps().chain(self.tools.iter().flat_map(|tool| tool.maps()));
        let cost = on.cost.cost(length, hits, maps);
        let target = |space: &Space| Target {
            pid: space.process.pid(),
            name: space.process.name().clone(),
            exe: space.exe.clone(),
            build_id: space.build_id.clone(),
            ended: space.ended.clone(),
            killed_by: space.killed_by,
            probes: self.tools.iter().flat_map(|tool| tool.probed(space.number)).cloned().collect(),
            notes: space.notes.clone(),
        };
        let mut targets: Vec<(u16, Target)> =
            on.spaces.iter().map(|space| (space.number, target(space))).collect();
        // Probes see nothing of a program that they are not in.
        if !self.tools.iter().any(|tool| tool.about().has_uprobes) {
            targets.extend(brief::targets(on, names));
            targets.sort_by_key(|(number, _)| *number);
        }
        Meta {
            tool: tools.join("+"),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command: settings.command_line.iter().map(|word| Text::from(word.as_os_str())).collect(),
            host: Text::from(uname.nodename().to_string_lossy().as_ref()),
            kernel: uname.release().to_string_lossy().into_owned(),
            started_unix_ns: on.started_unix_ns,
            started: String::new(),
            length_ns: length.as_nanos() as u64,
            length_ms: 0,
            ended,
            targets: targets.into_iter().map(|(_, target)| target).collect(),
            settings: common.into_iter().collect(),
            cost,
        }
    }
}

/// Looks up names. An interim report only uses names that are already known: waiting for others would stop the observation's
/// loop.
fn find_names(on: &mut Observation<'_>, ended: Ended) {
    let Observation { settings, ground, spaces, modules, stacks, worker, .. } = on;
    if ended == Ended::Running {
        stacks.names.look_up(modules, spaces.as_slice(), worker);
    } else {
        // Reads the mappings again at the end: a library may have been loaded since the last look.
        for space in spaces.iter_mut().filter(|space| space.ended.is_none()) {
            space.refresh(ground, modules);
            stacks.mark_reused(space.number, &mut space.reused);
        }
        settings.stage.begin("looking up names");
        worker.restore_priority();
        stacks.names.finish(modules, spaces.as_slice(), worker);
        settings.stage.end();
    }
    for space in spaces {
        stacks.learn_maker(space.number, space.maker);
        stacks.learn_unloaded(space.number, space.unloaded());
    }
}

/// Adds the part of a tool; its indices are moved behind those of other tools.
fn add(report: &mut Report, part: Part) {
    let (sections, stacks, frames) = (report.sections.len(), report.stacks.len(), report.frames.len());
    let Part { findings, sections: mut tables, stacks: mut walked, .. } = part;
    report.findings.extend(findings.into_iter().map(|mut finding| {
        finding.rows.iter_mut().for_each(|row| row.section += sections);
        finding
    }));
    for row in tables.iter_mut().flat_map(|section| &mut section.rows) {
        row.stacks.iter_mut().for_each(|of| of.stack += stacks);
    }
    for frame in walked.iter_mut().flat_map(|stack| &mut stack.frames) {
        *frame += frames;
    }
    report.sections.extend(tables);
    report.stacks.extend(walked);
    report.frames.extend(part.frames);
    let coverage = &mut report.coverage;
    coverage.ledger.extend(part.ledger);
    for (name, count) in part.quality {
        *coverage.quality.entry(name).or_default() += count;
    }
    coverage.incomplete_because.extend(part.losses);
    coverage.before_attach = match (coverage.before_attach.take(), part.before_attach) {
        (Some(before), Some(more)) => Some(format!("{before}; {more}")),
        (before, more) => before.or(more),
    };
}

/// Where the names of each file come from.
fn files(on: &Observation<'_>) -> Vec<FileNames> {
    let sources = on.stacks.names.sources();
    let known = sources.filter_map(|(id, answer)| Some((on.modules.get(id)?, answer)));
    known
        .map(|(module, answer)| FileNames {
            module: module.name.clone(),
            build_id: module.build_id.clone(),
            sources: answer.notes.sources.clone(),
            problems: answer.notes.all_problems(),
            absent: answer.notes.absent.clone(),
        })
        .collect()
}
