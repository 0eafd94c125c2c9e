//! Config providers: values such as `${env:NAME}` or `${file:/path:key}` are taken from elsewhere.
//!
//! The three providers that come with Apache Kafka are built in. What cannot be resolved is an error; Kafka would go
//! on with the text as it stands.

use std::path::{Component, Path};

use ottla_model::properties::decode;

use super::properties::{Properties, Property};

enum Provider<'a> {
    /// `org.apache.kafka.common.config.provider.EnvVarConfigProvider`
    Environment,
    /// `...FileConfigProvider`: keys of a properties file.
    File { allowed: Option<&'a str> },
    /// `...DirectoryConfigProvider`: files of a directory, their content being the value.
    Directory { allowed: Option<&'a str> },
}

const PACKAGE: &str = "org.apache.kafka.common.config.provider.";

/// Replaces what `config.providers` provide, in all values. A line for each that fails.
pub(super) fn resolve(properties: &mut Properties) -> Vec<String> {
    let Some(names) = properties.value("config.providers").filter(|names| !names.trim().is_empty()) else {
        return Vec::new();
    };
    let mut problems = Vec::new();
    let mut resolved: Vec<Property> = Vec::new();
    let mut providers = Vec::new();
    for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        match provider(properties, name) {
            Ok(provider) => providers.push((name, provider)),
            Err(problem) => problems.push(problem),
        }
    }
    for property in properties.iter().filter(|property| property.value.contains("${")) {
        match replace(&property.value, &providers) {
            Ok(value) => resolved.push(Property { value, ..property.clone() }),
            Err(why) => problems.push(format!("{}: {}: {why}", property.place, property.name)),
        }
    }
    for property in resolved {
        properties.set(&property.place, &property.name, &property.value);
    }
    problems
}

/// Whether `name` configures a provider.
pub(super) fn is_provider_setting(name: &str) -> bool {
    name.starts_with("config.providers.")
}

fn provider<'a>(properties: &'a Properties, name: &str) -> Result<Provider<'a>, String> {
    let setting = format!("config.providers.{name}.class");
    let Some(class) = properties.get(&setting) else {
        return Err(format!("{setting} is not set, but config.providers names {name}"));
    };
    let allowed = properties.value(&format!("config.providers.{name}.param.allowed.paths"));
    match class.value.trim().strip_prefix(PACKAGE) {
        Some("EnvVarConfigProvider") => Ok(Provider::Environment),
        Some("FileConfigProvider") => Ok(Provider::File { allowed }),
        Some("DirectoryConfigProvider") => Ok(Provider::Directory { allowed }),
        _ => Err(format!(
            "{}: {setting}={}: only EnvVarConfigProvider, FileConfigProvider and DirectoryConfigProvider of {PACKAGE} \
             are available",
            class.place, class.value
        )),
    }
}

/// Replaces every `${provider:key}` and `${provider:path:key}` of a known provider.
fn replace(value: &str, providers: &[(&str, Provider<'_>)]) -> Result<String, String> {
    let mut replaced = String::new();
    let mut rest = value;
    while let Some(start) = rest.find("${") {
        let (before, reference) = rest.split_at(start);
        let Some(end) = reference.find('}') else { break };
        replaced.push_str(before);
        let inner = &reference[2..end];
        let found = inner.split_once(':').and_then(|(name, key)| {
            providers.iter().find(|(known, _)| *known == name).map(|(_, provider)| (provider, key))
        });
        match found {
            Some((provider, key)) => replaced.push_str(&provider.get(key)?),
            None => replaced.push_str(&reference[..=end]),
        }
        rest = &reference[end + 1..];
    }
    replaced.push_str(rest);
    Ok(replaced)
}

impl Provider<'_> {
    /// `key` may hold a path in front: `path:key`.
    fn get(&self, key: &str) -> Result<String, String> {
        let with_path = || key.rsplit_once(':').ok_or_else(|| format!("${{...:{key}}} names no path"));
        match self {
            Self::Environment => {
                let name = key.rsplit_once(':').map_or(key, |(_, name)| name);
                std::env::var(name).map_err(|_| format!("there is no environment variable {name}"))
            }
            Self::File { allowed } => {
                let (path, key) = with_path()?;
                let text = decode(read(path, *allowed)?);
                let file = Properties::parse(path, &text).map_err(|error| error.to_string())?;
                file.value(key).map(str::to_owned).ok_or_else(|| format!("{path} has no {key}"))
            }
            Self::Directory { allowed } => {
                let (path, key) = with_path()?;
                if key.contains('/') {
                    return Err(format!("{key} is not the name of a file"));
                }
                Ok(decode(read(&format!("{path}/{key}"), *allowed)?))
            }
        }
    }
}

fn read(path: &str, allowed: Option<&str>) -> Result<Vec<u8>, String> {
    let file = Path::new(path);
    if let Some(allowed) = allowed {
        let is_plain = file.components().all(|part| part != Component::ParentDir);
        if !is_plain || !allowed.split(',').any(|dir| file.starts_with(dir.trim())) {
            return Err(format!("{path} is not among the allowed paths"));
        }
    }
    std::fs::read(file).map_err(|error| format!("cannot read {path}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_from_files_directories_and_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().display();
        std::fs::write(dir.path().join("secrets.properties"), "password=a=b\nother=x").unwrap();
        let text = format!(
            "config.providers=file,dir,env\n\
             config.providers.file.class=org.apache.kafka.common.config.provider.FileConfigProvider\n\
             config.providers.dir.class=org.apache.kafka.common.config.provider.DirectoryConfigProvider\n\
             config.providers.dir.param.allowed.paths={path}\n\
             config.providers.env.class=org.apache.kafka.common.config.provider.EnvVarConfigProvider\n\
             one=<${{file:{path}/secrets.properties:password}}>${{file:{path}/secrets.properties:other}}\n\
             two=${{dir:{path}:secrets.properties}}\n\
             three=${{env:PATH}}\n\
             four=${{unknown:x}} ${{open\n"
        );
        let mut properties = Properties::parse("f", &text).unwrap();
        assert_eq!(resolve(&mut properties), Vec::<String>::new());
        assert_eq!(properties.value("one"), Some("<a=b>x"));
        assert_eq!(properties.value("two"), Some("password=a=b\nother=x"));
        assert_eq!(properties.value("three"), std::env::var("PATH").ok().as_deref());
        assert_eq!(properties.value("four"), Some("${unknown:x} ${open"));

        for (value, why) in [
            (format!("${{file:{path}/secrets.properties:no}}"), "has no no"),
            ("${env:NO_SUCH_VARIABLE}".to_owned(), "there is no environment variable NO_SUCH_VARIABLE"),
            ("${dir:/etc:hostname}".to_owned(), "/etc/hostname is not among the allowed paths"),
            (format!("${{dir:{path}/..:x}}"), "is not among the allowed paths"),
        ] {
            let mut properties = properties.clone();
            properties.set("f", "bad", &value);
            let problems = resolve(&mut properties);
            assert!(problems.len() == 1 && problems[0].contains(why), "{problems:?}");
        }
    }
}
