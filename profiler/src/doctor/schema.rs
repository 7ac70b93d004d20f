//! Keeps `schema/doctor.schema.json` equal to the types, as `report::schema` does for reports.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::OnceLock;

use schemars::generate::SchemaSettings;
use serde_json::Value as Json;

use super::{Diagnosis, SCHEMA, sample};

fn path(file: &str) -> PathBuf {
    testbed::place::checkout().join(file)
}

fn generated() -> Json {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Diagnosis>();
    let mut json = schema.to_value();
    json["title"] = "Diagnosis of profiler doctor".into();
    json["properties"]["schema"]["const"] = SCHEMA.into();
    json
}

/// The committed schema. If UPDATE_SCHEMA is set, it is generated first, once for all tests of this process.
fn published() -> &'static Json {
    static PUBLISHED: OnceLock<Json> = OnceLock::new();
    PUBLISHED.get_or_init(|| {
        let file = path("schema/doctor.schema.json");
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            let mut out = Vec::new();
            crate::render::write_json(&generated(), &mut out).unwrap();
            std::fs::write(&file, out).unwrap();
        }
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
    })
}

fn json_of(diagnosis: &Diagnosis) -> String {
    let mut out = Vec::new();
    crate::render::write_json(diagnosis, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// `UPDATE_SCHEMA=1 cargo test -p profiler schema` writes the file anew.
#[test]
fn the_published_schema_is_that_of_the_types() {
    assert!(
        *published() == generated(),
        "schema/doctor.schema.json and the types differ: run `UPDATE_SCHEMA=1 cargo test -p profiler --lib schema`, \
         review the change, and raise SCHEMA if a field went away or changed its meaning"
    );
}

#[test]
fn what_is_written_satisfies_the_published_schema_and_reads_back() {
    let validator = jsonschema::validator_for(published()).unwrap();
    for diagnosis in sample::all() {
        let text = json_of(&diagnosis);
        let json: Json = serde_json::from_str(&text).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(&json).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{errors:#?}");
        assert_eq!(serde_json::from_str::<Diagnosis>(&text).unwrap(), diagnosis);
        assert!(!text.replace('\n', "").contains(crate::text::is_hidden));
    }
}

#[test]
fn the_published_schema_refuses_another_meaning() {
    let validator = jsonschema::validator_for(published()).unwrap();
    let json = serde_json::to_value(sample::limited()).unwrap();
    for (pointer, value) in [
        ("/schema", 2.into()),
        ("/verdict/readiness", "perhaps".into()),
        ("/checks/0/answer", true.into()),
        ("/tools/0/sites/0/file_offset", (-1).into()),
    ] {
        let mut changed = json.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        assert!(!validator.is_valid(&changed), "{pointer}");
    }
}

/// Every field is documented, and used in a sample, so that the samples exercise all fields.
#[test]
fn every_field_is_documented_and_used() {
    let root = generated();
    let objects = root["$defs"].as_object().unwrap().values().chain([&root]);
    let fields: BTreeSet<String> =
        objects.filter_map(|o| o["properties"].as_object()).flat_map(|f| f.keys().cloned()).collect();
    let documentation = std::fs::read_to_string(path("docs/doctor.md")).unwrap();
    let written: String = sample::all().iter().map(json_of).collect();
    let undocumented: Vec<_> = fields.iter().filter(|f| !documentation.contains(&format!("`{f}`"))).collect();
    let unused: Vec<_> = fields.iter().filter(|f| !written.contains(&format!("\"{f}\":"))).collect();
    assert!(undocumented.is_empty() && unused.is_empty(), "{undocumented:?} {unused:?}");
}
