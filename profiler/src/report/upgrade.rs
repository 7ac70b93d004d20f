//! Converts files of schema 1 to schema 2.
//!
//! In schema 1, a row had at most one stack, rows could have the same key, and stacks had no id.

use serde_json::{Map, Value as Json, json};

use super::SCHEMA;

/// Converts the fields whose form has changed. Fields that are not valid in schema 1 stay as they are, so that the parser refuses
/// them.
pub(super) fn upgrade(report: &mut Json) {
    for section in of(report, "sections") {
        for column in of(section, "columns") {
            // The process was a label, and is a key now.
            if column.get("name") == Some(&json!("pid")) {
                column["role"] = json!("key");
            }
        }
        for row in of(section, "rows").filter_map(Json::as_object_mut) {
            upgrade_row(row);
        }
    }
    if let Some(schema) = report.get_mut("schema") {
        *schema = SCHEMA.into();
    }
}

fn upgrade_row(row: &mut Map<String, Json>) {
    let Some(stack) = row.remove("stack") else { return };
    let stacks = match stack {
        Json::Null => json!([]),
        index => json!([{"role": "user", "stack": index}]),
    };
    row.insert("stacks".to_owned(), stacks);
}

/// The elements of a list; none if it is not a list.
fn of<'a>(parent: &'a mut Json, name: &str) -> impl Iterator<Item = &'a mut Json> {
    parent.get_mut(name).and_then(Json::as_array_mut).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Report, Role, StackRole, sample};
    use crate::text::Text;

    /// A report as schema 1 had it: two processes, with two rows of one function.
    fn old() -> Json {
        let mut json = serde_json::to_value(sample::pong()).unwrap();
        json["schema"] = json!(1);
        let section = &mut json["sections"][0];
        let pid = json!({"name": "pid", "title": "PID", "unit": "none", "role": "label", "shown": true});
        section["columns"].as_array_mut().unwrap().insert(0, pid);
        let mut rows = section["rows"].as_array().unwrap().clone();
        rows.push(rows[0].clone());
        for (row, stack) in rows.iter_mut().zip([json!(0), json!(1), json!(null), json!(2)]) {
            row["cells"].as_array_mut().unwrap().insert(0, json!({"word": "4242"}));
            row.as_object_mut().unwrap().remove("stacks");
            row["stack"] = stack;
        }
        section["rows"] = rows.into();
        for stack in json["stacks"].as_array_mut().unwrap() {
            stack.as_object_mut().unwrap().retain(|field, _| field != "id" && field != "key");
        }
        json["coverage"]["complete_stacks_ratio"] = json!(0.992);
        json["coverage"]["stack_method"] = json!("frame pointers");
        json
    }

    #[test]
    fn rows_keep_their_stacks_and_get_unique_keys() {
        let report = crate::report::read(old().to_string().as_bytes(), &Text::from("old.json")).unwrap();
        assert_eq!((report.schema, report.check()), (SCHEMA, Ok(())));
        let section = &report.sections[0];
        let stacks: Vec<Option<usize>> =
            section.rows.iter().map(|row| row.stack_of_role(StackRole::User)).collect();
        assert_eq!(stacks, [Some(0), Some(1), None, Some(2)]);
        let keys: Vec<&str> = section
            .columns
            .iter()
            .filter(|column| column.role == Role::Key)
            .map(|column| column.name.as_str())
            .collect();
        assert_eq!(keys, ["pid", "function", "nth"]);
        assert_eq!(section.columns[section.name_column().unwrap()].name, "function");
        let stacks =
            |report: &Report| report.stacks.iter().map(|s| (s.id.clone(), s.key.clone())).collect::<Vec<_>>();
        assert_eq!(stacks(&report), stacks(&sample::pong()));
    }

    #[test]
    fn a_file_that_is_not_valid_in_schema_1_is_refused() {
        for (pointer, value) in [
            ("/sections", json!(7)),
            ("/sections/0/rows", json!({})),
            ("/sections/0/rows/0", json!([])),
            ("/sections/0/rows/0/stack", json!("x")),
            ("/sections/0/rows/0/stack", json!(99)),
            ("/sections/0/columns/0", json!(null)),
        ] {
            let mut json = old();
            *json.pointer_mut(pointer).unwrap() = value;
            let error = crate::report::read(json.to_string().as_bytes(), &Text::from("old.json"));
            assert_eq!(error.unwrap_err().kind(), crate::error::ErrorKind::InvalidFile, "{pointer}");
        }
    }
}
