//! `cargo xtask schemas`: the structs of `ottla-protocol` against the JSON schemas inside Apache Kafka's jars.
//!
//! For a new release of Kafka, run it with `--kafka-version` and work through what it prints.
//!
//! Versions are compared within those in which the struct occurs, so that `0+` and `3+` are the same in a message
//! that begins with version 3. Two things have no effect on any byte and are not compared: `ignorable` of a field
//! that every version has, and whether such a field that can be null starts out as null or as empty.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use ottla_protocol::schema::{DefaultValue, FieldSchema, MessageKind, MessageSchema, StructSchema, Type};
use ottla_protocol::{ApiKey, Listener, Versions};
use serde_json::{Map, Value};

#[derive(clap::Args)]
pub struct Args {
    /// The release of Apache Kafka to compare with
    #[arg(long, default_value = "4.4.0")]
    kafka_version: String,
}

/// The jars with schemas in them.
const ARTIFACTS: [&str; 7] = [
    "kafka-clients",
    "kafka-metadata",
    "kafka-group-coordinator",
    "kafka-transaction-coordinator",
    "kafka-share-coordinator",
    "kafka-raft",
    "kafka-storage",
];

pub fn run(args: Args) -> Result<()> {
    let theirs = load(&args.kafka_version)?;
    let ours: BTreeMap<_, _> =
        ottla_protocol::schemas().map(|schema| (schema.body.name.to_owned(), schema)).collect();
    let mut comparison = Comparison::default();
    for (name, schema) in &theirs {
        match ours.get(name) {
            Some(ours) => comparison.message(ours, schema)?,
            None => comparison.report(name, "is missing here"),
        }
    }
    for name in ours.keys().filter(|name| !theirs.contains_key(*name)) {
        comparison.report(name, "exists only here");
    }
    let differences = comparison.differences;
    for difference in &differences {
        println!("{difference}");
    }
    println!("Kafka {}: {} schemas, {} differences", args.kafka_version, theirs.len(), differences.len());
    ensure!(differences.is_empty(), "the structs differ from Apache Kafka's schemas");
    Ok(())
}

/// Fetches the jars and reads their schemas, by message name.
fn load(version: &str) -> Result<BTreeMap<String, Value>> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/schemas").join(version);
    let mut schemas = BTreeMap::new();
    for artifact in ARTIFACTS {
        let jar = target.join(format!("{artifact}-{version}.jar"));
        if !jar.exists() {
            let mut maven = Command::new("mvn");
            maven.args(["--quiet", "--batch-mode", "dependency:copy"]);
            maven.arg(format!("-Dartifact=org.apache.kafka:{artifact}:{version}"));
            maven.arg(format!("-DoutputDirectory={}", target.display()));
            succeed(&mut maven)?;
        }
        let unpacked = target.join(artifact);
        succeed(Command::new("unzip").arg("-qo").arg(&jar).arg("*.json").arg("-d").arg(&unpacked))?;
        let mut files = Vec::new();
        json_files(&unpacked, &mut files)?;
        for file in files {
            let schema =
                parse(&fs::read_to_string(&file)?).with_context(|| format!("parse {}", file.display()))?;
            schemas.insert(text(&schema, "name")?.to_owned(), schema);
        }
    }
    Ok(schemas)
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("start {command:?}"))?;
    ensure!(status.success(), "{command:?} failed with {status}");
    Ok(())
}

fn json_files(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            json_files(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
    Ok(())
}

/// JSON with `//` comments on lines of their own.
fn parse(text: &str) -> Result<Value> {
    let lines: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    Ok(serde_json::from_str(&lines.join("\n"))?)
}

fn text<'a>(json: &'a Value, key: &str) -> Result<&'a str> {
    json[key].as_str().with_context(|| format!("no text {key:?} in {json}"))
}

fn versions(json: &Value) -> Result<Versions> {
    let Some(text) = json.as_str() else { return Ok(Versions::NONE) };
    Ok(if text == "none" {
        Versions::NONE
    } else if let Some(min) = text.strip_suffix('+') {
        Versions::new(min.parse()?, i16::MAX)
    } else {
        let (min, max) = text.split_once('-').unwrap_or((text, text));
        Versions::new(min.parse()?, max.parse()?)
    })
}

#[derive(Default)]
struct Comparison {
    differences: Vec<String>,
}

impl Comparison {
    fn report(&mut self, at: &str, difference: impl Display) {
        self.differences.push(format!("{at}: {difference}"));
    }

    fn same<T: PartialEq + std::fmt::Debug>(&mut self, at: &str, what: &str, ours: T, theirs: T) {
        if ours != theirs {
            self.report(at, format_args!("{what} is {ours:?} here and {theirs:?} there"));
        }
    }

    fn message(&mut self, ours: &MessageSchema, theirs: &Value) -> Result<()> {
        let at = ours.body.name;
        let valid = versions(&theirs["validVersions"])?;
        self.same(at, "the kind", kind_name(ours.kind), text(theirs, "type")?);
        self.same(at, "the API key", ours.api_key.map(i64::from), theirs["apiKey"].as_i64());
        self.same(at, "the range of versions", ours.versions, valid);
        self.same(
            at,
            "the range of flexible versions",
            ours.flexible.intersect(valid),
            versions(&theirs["flexibleVersions"])?.intersect(valid),
        );
        let unstable = theirs["latestVersionUnstable"].as_bool().unwrap_or(false);
        self.same(at, "latestVersionUnstable", ours.latest_version_unstable, unstable);
        if let (MessageKind::Request, Some(key)) = (ours.kind, ours.api_key.and_then(ApiKey::from_i16)) {
            let listed: Vec<_> =
                theirs["listeners"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            for (listener, name) in [(Listener::Broker, "broker"), (Listener::Controller, "controller")] {
                let what = format!("being served on {name} listeners");
                self.same(at, &what, key.is_served_on(listener), listed.contains(&name));
            }
        }
        let mut shared = Map::new();
        for common in theirs["commonStructs"].as_array().into_iter().flatten() {
            shared.insert(text(common, "name")?.to_owned(), common["fields"].clone());
        }
        self.structure(at, ours.body, &theirs["fields"], &shared, valid)
    }

    fn structure(
        &mut self,
        at: &str,
        ours: &StructSchema,
        theirs: &Value,
        shared: &Map<String, Value>,
        present: Versions,
    ) -> Result<()> {
        let theirs = theirs.as_array().map(Vec::as_slice).unwrap_or_default();
        self.same(
            at,
            "the list of fields",
            ours.fields.iter().map(|field| field.name).collect::<Vec<_>>(),
            theirs.iter().filter_map(|field| field["name"].as_str()).collect(),
        );
        for ours in ours.fields {
            let Some(theirs) = theirs.iter().find(|theirs| theirs["name"] == ours.name) else { continue };
            self.field(&format!("{at}.{}", ours.name), ours, theirs, shared, present)?;
        }
        Ok(())
    }

    fn field(
        &mut self,
        at: &str,
        ours: &FieldSchema,
        theirs: &Value,
        shared: &Map<String, Value>,
        present: Versions,
    ) -> Result<()> {
        // A field without versions has those in which it is tagged.
        let tagged = versions(&theirs["taggedVersions"])?.intersect(present);
        let declared = match &theirs["versions"] {
            Value::Null => tagged,
            declared => versions(declared)?.intersect(present),
        };
        let in_all = declared == present;
        self.same(at, "the range of versions", ours.versions.intersect(present), declared);
        let nullable = versions(&theirs["nullableVersions"])?.intersect(declared);
        self.same(at, "the range of nullable versions", ours.nullable.intersect(declared), nullable);
        self.same(at, "the tag", ours.tag.map(u64::from), theirs["tag"].as_u64());
        if ours.tag.is_some() {
            self.same(at, "the range of tagged versions", ours.versions.intersect(present), tagged);
        }
        let never_flexible = theirs["flexibleVersions"] == "none";
        self.same(at, "being never flexible", ours.never_flexible, never_flexible);
        if !in_all {
            let ignorable = truth(&theirs["ignorable"]);
            self.same(at, "being ignorable", ours.ignorable, ignorable);
        }

        let theirs_ty = text(theirs, "type")?;
        self.same(at, "the type", type_name(&ours.ty), theirs_ty.to_owned());
        let default = match theirs.get("default") {
            None => DefaultValue::Zero,
            Some(default) => default_of(&ours.ty, default)?,
        };
        if nullable.is_empty() || !in_all || ours.tag.is_some() {
            self.same(at, "the default", normal(ours.default), default);
        }
        if let Some(structure) = structure_of(&ours.ty) {
            let fields = match &theirs["fields"] {
                Value::Null => shared.get(theirs_ty.trim_start_matches("[]")).unwrap_or(&Value::Null),
                fields => fields,
            };
            self.structure(at, structure, fields, shared, declared)?;
        }
        Ok(())
    }
}

fn kind_name(kind: MessageKind) -> &'static str {
    match kind {
        MessageKind::Request => "request",
        MessageKind::Response => "response",
        MessageKind::Metadata => "metadata",
        MessageKind::CoordinatorKey => "coordinator-key",
        MessageKind::CoordinatorValue => "coordinator-value",
        MessageKind::Data => "data",
        MessageKind::Header => "header",
    }
}

fn type_name(ty: &Type) -> String {
    match ty {
        Type::Bool => "bool".into(),
        Type::Int8 => "int8".into(),
        Type::Int16 => "int16".into(),
        Type::Uint16 => "uint16".into(),
        Type::Int32 => "int32".into(),
        Type::Uint32 => "uint32".into(),
        Type::Int64 => "int64".into(),
        Type::Float64 => "float64".into(),
        Type::Uuid => "uuid".into(),
        Type::String => "string".into(),
        Type::Bytes => "bytes".into(),
        Type::Records => "records".into(),
        Type::Array(element) => format!("[]{}", type_name(element)),
        Type::Struct(structure) => structure.name.into(),
    }
}

fn structure_of(ty: &Type) -> Option<&'static StructSchema> {
    match ty {
        Type::Array(element) => structure_of(element),
        Type::Struct(structure) => Some(structure),
        _ => None,
    }
}

/// Booleans and numbers stand as such or as text.
fn truth(json: &Value) -> bool {
    json == true || json == "true"
}

fn default_of(ty: &Type, json: &Value) -> Result<DefaultValue> {
    let text = match json {
        // Kafka's generator takes only the text "null" for a null; a null itself is as good as no default.
        Value::Null => return Ok(DefaultValue::Zero),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let default = match (ty, text.as_str()) {
        (_, "null") => DefaultValue::Null,
        (_, "") => DefaultValue::Zero,
        (Type::Bool, text) => DefaultValue::Bool(text == "true"),
        (Type::Float64 | Type::String | Type::Bytes | Type::Array(_), text) => {
            bail!("a default {text:?} of this type was not expected")
        }
        (_, text) => DefaultValue::Int(match text.strip_prefix("0x") {
            Some(hex) => i64::from_str_radix(hex, 16)?,
            None => text.parse()?,
        }),
    };
    Ok(normal(default))
}

/// One form for each default.
fn normal(default: DefaultValue) -> DefaultValue {
    match default {
        DefaultValue::Int(0) | DefaultValue::Bool(false) => DefaultValue::Zero,
        default => default,
    }
}
