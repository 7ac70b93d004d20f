//! Tables behind those of files, threads and operations.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{FILE, Given, Tables, noted};
use crate::{
    io_tools::{Label, OPERATION, THREAD, named},
    report::{ColumnSpec, Role, Row, Section, Unit, Value},
    tool::disk::{
        devices::{self, Others},
        operations::Operation,
        waits::{Cause, Waited},
    },
};

const DEVICE: ColumnSpec = ("device", "Device", Unit::None, Role::Key, true);

impl Tables<'_> {
    pub(super) fn slow(&self) -> Section {
        let Given { samples, options, .. } = self.given;
        let own = [("device_bytes", "From device", Unit::Bytes, Role::Sum, true)];
        let title = "Single operations, the longest first";
        self.tabled.slow(title, (samples, &self.stacks, options.slow), (FILE, &own), |sample| {
            let operation = Operation::of_number(sample.operation as u32)?;
            Some((operation.name(), vec![self.fetched(sample.device_bytes)]))
        })
    }

    /// What operations wait for.
    pub(super) fn waits(&self) -> Section {
        let mut sums: BTreeMap<(u16, Label, Operation, &Cause, &str), Waited> = BTreeMap::new();
        for (place, waited) in self.given.waits {
            let Some(operation) = Operation::of_number(place.operation) else { continue };
            let file = Label::of(self.tabled.on.files.of_operation(place.file));
            let key = (place.space, file, operation, &place.cause, place.function.as_str());
            sums.entry(key).or_default().add(*waited);
        }
        let mut sorted: Vec<_> = sums.into_iter().collect();
        sorted.sort_by_key(|(_, waited)| Reverse((waited.total_ns, waited.count)));
        let rows = sorted.into_iter().map(|((space, file, operation, cause, function), waited)| {
            let mut cells = self.tabled.whose(space);
            cells.extend([
                Value::Word(operation.name().to_owned()),
                Value::Word(cause.name().to_owned()),
                match function {
                    "" => Value::Unknown(
                        "the kernel does not show its addresses, or its stack could not be walked".to_owned(),
                    ),
                    name => Value::Word(name.to_owned()),
                },
                file.value(),
                Value::Exact(waited.count),
                Value::Exact(waited.total_ns),
                Value::Exact(waited.max_ns),
            ]);
            Row { cells, stacks: Vec::new(), severity: None }
        });
        let keys = [
            OPERATION,
            ("cause", "Waits for", Unit::None, Role::Key, true),
            ("kernel_function", "In the kernel", Unit::None, Role::Key, true),
            FILE,
        ];
        let sums = [
            ("waits", "Waits", Unit::Count, Role::Sum, true),
            ("total_ns", "Time", Unit::Nanos, Role::Sum, true),
            ("max_ns", "Longest", Unit::Nanos, Role::Max, true),
        ];
        let title = "What operations wait for, the most time first";
        let mut section = self.tabled.section("waits", title, &keys, rows.collect(), &sums);
        let [missing, _] = self.given.without_row;
        let words = "in no row: the kernel did not show when they ended, or too many files are waited for";
        section.notes.extend(noted("wait", "waits", [(missing, words)]));
        section
    }

    /// Operations in progress.
    pub(super) fn now(&self) -> Section {
        let slow_ns = self.given.options.slow.as_nanos() as u64;
        let rows = self.given.counted.alive.iter().filter_map(|thread| {
            let (operation, file, since_ns) = thread.now?;
            let operation = Operation::of_number(operation)?;
            let took_ns = self.given.now_ns.saturating_sub(since_ns);
            if took_ns < slow_ns {
                return None;
            }
            let mut cells = self.tabled.whose(thread.space);
            cells.extend([
                Value::Exact(thread.tid.into()),
                Value::Name(thread.name.clone()),
                Value::Word(operation.name().to_owned()),
                self.tabled.on.files.of_operation(file),
                Value::Exact(took_ns),
            ]);
            Some(Row { cells, stacks: Vec::new(), severity: None })
        });
        let keys = [("tid", "TID", Unit::None, Role::Key, false), THREAD, OPERATION];
        let sums = [
            ("file", "File", Unit::None, Role::Name, true),
            ("duration_ns", "For", Unit::Nanos, Role::Max, true),
        ];
        self.tabled.section("now", "Operations in progress at the end", &keys, rows.collect(), &sums)
    }

    /// Requests to devices.
    pub(super) fn devices(&self) -> Section {
        let mut sorted: Vec<_> = self.given.devices.requests.iter().collect();
        sorted.sort_by_key(|(_, served)| Reverse((served.served.sum, served.count)));
        let rows = sorted.into_iter().map(|((space, device, operation), of)| {
            let mut cells = self.tabled.whose(*space);
            cells.extend([
                Value::Word(devices::name(*device)),
                Value::Word(devices::operation(*operation)),
                Value::Exact(of.count),
                Value::Exact(of.bytes),
                Value::Histogram(of.queued.clone()),
                Value::Histogram(of.served.clone()),
                Value::Exact(of.errors),
            ]);
            Row { cells, stacks: Vec::new(), severity: None }
        });
        let keys = [DEVICE, ("request", "Request", Unit::None, Role::Key, true)];
        let sums = [
            ("requests", "Requests", Unit::Count, Role::Sum, true),
            ("request_bytes", "Bytes", Unit::Bytes, Role::Sum, true),
            ("queued_ns", "Queued", Unit::Nanos, Role::Gauge, true),
            ("served_ns", "Served", Unit::Nanos, Role::Gauge, true),
            ("errors", "Errors", Unit::Count, Role::Sum, true),
        ];
        let title = "Requests to devices that the targets have caused";
        let mut section = self.tabled.section("devices", title, &keys, rows.collect(), &sums);
        let [_, missing] = self.given.without_row;
        let words = "in no row: there was no room to follow or to count them";
        section.notes.extend(noted("request", "requests", [(missing, words)]));
        section.notes.push(
            "without what the kernel writes in the background; a request that was merged from several belongs to the first".to_owned(),
        );
        section
    }

    /// What other processes do to devices.
    pub(super) fn neighbours(&self) -> Section {
        let mut sorted: Vec<_> = self.given.devices.others.iter().collect();
        sorted.sort_by_key(|(_, of)| Reverse(of.read.1 + of.written.1));
        let rows = sorted.into_iter().map(|((device, tgid, name), of)| {
            let Others { read, written } = *of;
            let mut cells = vec![Value::Exact((*tgid).into()), Value::Exact(0)];
            cells.extend([
                Value::Word(devices::name(*device)),
                named(Some(name)),
                Value::Exact(read.0 + written.0),
                Value::Exact(read.1),
                Value::Exact(written.1),
            ]);
            Row { cells, stacks: Vec::new(), severity: None }
        });
        let sums = [
            ("submitted", "Submitted", Unit::Count, Role::Sum, true),
            ("read_bytes", "Read", Unit::Bytes, Role::Sum, true),
            ("written_bytes", "Written", Unit::Bytes, Role::Sum, true),
        ];
        let title = "What other processes do to devices, the most bytes first";
        let mut section = self.tabled.section("neighbours", title, &[DEVICE, THREAD], rows.collect(), &sums);
        if let Some(pid) = section.columns.first_mut() {
            pid.shown = true;
        }
        section.notes.push(
            "threads named kworker write in the background what others have written to files".to_owned(),
        );
        section
    }
}
