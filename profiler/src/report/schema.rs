//! Tests that `schema/report.schema.json` matches the types. The schema is generated from the types and their documentation. It is
//! committed so that users can read it and reviewers see every change.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::OnceLock;

use schemars::generate::SchemaSettings;
use serde_json::Value as Json;

use super::{Report, SCHEMA, sample};

fn path() -> PathBuf {
    testbed::place::checkout().join("schema/report.schema.json")
}

fn generated() -> Json {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Report>();
    let mut json = schema.to_value();
    json["title"] = "Report of profiler".into();
    json["properties"]["schema"]["const"] = SCHEMA.into();
    json
}

/// The committed schema. With `UPDATE_SCHEMA` it is generated first, once for all tests of this process.
fn published() -> &'static Json {
    static PUBLISHED: OnceLock<Json> = OnceLock::new();
    PUBLISHED.get_or_init(|| {
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            let mut out = Vec::new();
            crate::render::write_json(&generated(), &mut out).unwrap();
            std::fs::write(path(), out).unwrap();
        }
        serde_json::from_slice(&std::fs::read(path()).unwrap()).unwrap()
    })
}

/// `UPDATE_SCHEMA=1 cargo test -p profiler schema` generates the file.
#[test]
fn the_published_schema_is_that_of_the_types() {
    assert!(
        *published() == generated(),
        "schema/report.schema.json and the types differ: run `UPDATE_SCHEMA=1 cargo test -p profiler --lib schema`, \
         review the change, and raise SCHEMA if a field went away or changed its meaning"
    );
}

#[test]
fn what_is_written_satisfies_the_published_schema() {
    let published = published();
    assert!(jsonschema::meta::is_valid(published));
    let validator = jsonschema::validator_for(published).unwrap();
    for report in [sample::pong(), sample::hostile(), sample::many(40), sample::incomplete(), sample::timed()]
    {
        let json: Json = serde_json::from_str(&crate::render::json(&report)).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(&json).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
}

#[test]
fn the_published_schema_refuses_what_readers_refuse() {
    let published = published();
    let validator = jsonschema::validator_for(published).unwrap();
    let sample = serde_json::to_value(sample::pong()).unwrap();
    for (pointer, value) in [
        ("/schema", 3.into()),
        ("/meta/length_ns", (-1).into()),
        ("/meta/ended", "somehow".into()),
        ("/sections/0/rows/0/cells/0", serde_json::json!({"guess": 7})),
        ("/sections/0/rows/0/stacks/0/role", "friend".into()),
        ("/frames/0/functions/0/name", serde_json::json!({"b64": 7})),
    ] {
        let mut json = sample.clone();
        *json.pointer_mut(pointer).unwrap() = value;
        assert!(!validator.is_valid(&json), "{pointer}");
    }
}

/// Names of all fields of all objects.
fn fields() -> BTreeSet<String> {
    let root = generated();
    let objects = root["$defs"].as_object().unwrap().values().chain([&root]);
    objects
        .filter_map(|object| object["properties"].as_object())
        .flat_map(|fields| fields.keys().cloned())
        .collect()
}

fn documentation() -> String {
    std::fs::read_to_string(testbed::place::checkout().join("docs/report-format.md")).unwrap()
}

#[test]
fn the_documentation_names_every_field() {
    let text = documentation();
    let missing: Vec<String> =
        fields().into_iter().filter(|name| !text.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_example_of_the_documentation_is_a_report() {
    let text = documentation();
    let example = text.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    super::read(example.as_bytes(), &"docs/report-format.md".into()).unwrap();
    let errors: Vec<String> = jsonschema::validator_for(published())
        .unwrap()
        .iter_errors(&serde_json::from_str(example).unwrap())
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

/// Every property of the schema occurs in a sample, so that the samples exercise all of it.
#[test]
fn the_samples_use_every_field() {
    let samples = [sample::pong(), sample::hostile(), sample::timed()];
    let text: String = samples.iter().map(crate::render::json).collect();
    let missing: Vec<String> =
        fields().into_iter().filter(|name| !text.contains(&format!("\"{name}\":"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
