//! `--change`: instructions of a Dockerfile that change an image's configuration.

use cais_image::manifest::Healthcheck;
use cais_image::manifest::config::{ContainerConfig, Empty};

/// Carries out one instruction: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD,
/// STOPSIGNAL, USER, VOLUME, WORKDIR.
///
/// # Errors
/// Says in words what is wrong with it.
pub fn apply_change(config: &mut ContainerConfig, text: &str) -> Result<(), String> {
    let text = text.trim();
    let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim();
    let name = name.to_ascii_uppercase();
    if rest.is_empty() {
        return Err(format!("{name} needs an argument"));
    }
    match name.as_str() {
        "CMD" => config.cmd = Some(command(rest)),
        "ENTRYPOINT" => config.entrypoint = Some(command(rest)),
        "ENV" => {
            for (key, value) in pairs(rest)? {
                config.env.retain(|known| known.split('=').next() != Some(&key));
                config.env.push(format!("{key}={value}"));
            }
        }
        "LABEL" => config.labels.extend(pairs(rest)?),
        "EXPOSE" => {
            for port in words(rest)? {
                let (number, protocol) = port.split_once('/').unwrap_or((&port, "tcp"));
                let is_port = number.split('-').all(|part| part.parse::<u16>().is_ok());
                if !is_port || !matches!(protocol, "tcp" | "udp" | "sctp") {
                    return Err(format!("EXPOSE: {port:?} is not PORT[/tcp|udp|sctp]"));
                }
                config.exposed_ports.insert(format!("{number}/{protocol}"), Empty);
            }
        }
        "VOLUME" => {
            let places = match list(rest) {
                Some(places) => places,
                None => words(rest)?,
            };
            config
                .volumes
                .extend(places.into_iter().map(|place| (place, Empty)));
        }
        "HEALTHCHECK" => config.healthcheck = Some(healthcheck(rest)?),
        "STOPSIGNAL" => config.stop_signal = Some(rest.to_owned()),
        "USER" => rest.clone_into(&mut config.user),
        "ONBUILD" => config.on_build.push(rest.to_owned()),
        "WORKDIR" if rest.starts_with('/') => rest.clone_into(&mut config.working_dir),
        "WORKDIR" => {
            let base = config.working_dir.trim_end_matches('/');
            config.working_dir = format!("{base}/{rest}");
        }
        _ => {
            return Err(format!(
                "{name} is not among CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR"
            ));
        }
    }
    Ok(())
}

/// `["a", "b"]`, or a line for the shell.
fn command(text: &str) -> Vec<String> {
    list(text).unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()])
}

fn list(text: &str) -> Option<Vec<String>> {
    text.starts_with('[')
        .then(|| cais_json::from_str(text).ok())
        .flatten()
}

fn healthcheck(text: &str) -> Result<Healthcheck, String> {
    let test = if text.eq_ignore_ascii_case("NONE") {
        vec!["NONE".to_owned()]
    } else {
        let line = text
            .strip_prefix("CMD ")
            .ok_or("HEALTHCHECK: NONE or CMD is wanted; times cannot be given here")?;
        match list(line.trim()) {
            Some(words) => [vec!["CMD".to_owned()], words].concat(),
            None => vec!["CMD-SHELL".to_owned(), line.trim().to_owned()],
        }
    };
    Ok(Healthcheck {
        test,
        ..Healthcheck::default()
    })
}

/// `KEY=VALUE …`, or the old form `KEY VALUE`.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let words = words(text)?;
    if words.first().is_some_and(|first| !first.contains('=')) {
        let (key, value) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        return Ok(vec![(key.to_owned(), value.trim().to_owned())]);
    }
    words
        .iter()
        .map(|word| match word.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(format!("{word:?} is not KEY=VALUE")),
        })
        .collect()
}

/// Words, with quotes and backslashes as in a Dockerfile.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\\', None | Some('"')) => {
                let next = letters.next().ok_or("a backslash at the end")?;
                word.get_or_insert_default().push(next);
            }
            (letter, Some(open)) if letter == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (letter, None) if letter.is_whitespace() => words.extend(word.take()),
            (letter, _) => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err("a quote that does not end".to_owned());
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions() {
        let mut config = ContainerConfig {
            env: vec!["A=0".into()],
            working_dir: "/srv".into(),
            ..ContainerConfig::default()
        };
        for text in [
            "CMD [\"/run\", \"x\"]",
            "entrypoint exec run",
            "ENV A=1 B=\"two words\" C=a\\ b",
            "ENV D old form",
            "LABEL x=y",
            "EXPOSE 80 53/udp",
            "VOLUME [\"/a b\"]",
            "VOLUME /c /d",
            "USER ana",
            "WORKDIR web",
            "STOPSIGNAL SIGQUIT",
            "HEALTHCHECK CMD true",
        ] {
            apply_change(&mut config, text).unwrap();
        }
        assert_eq!(config.cmd.unwrap(), ["/run", "x"]);
        assert_eq!(config.entrypoint.unwrap(), ["/bin/sh", "-c", "exec run"]);
        assert_eq!(config.env, ["A=1", "B=two words", "C=a b", "D=old form"]);
        assert_eq!(
            config.exposed_ports.keys().collect::<Vec<_>>(),
            ["53/udp", "80/tcp"]
        );
        assert_eq!(config.volumes.keys().collect::<Vec<_>>(), ["/a b", "/c", "/d"]);
        assert_eq!(
            (config.user.as_str(), config.working_dir.as_str()),
            ("ana", "/srv/web")
        );
        assert_eq!(config.healthcheck.unwrap().test, ["CMD-SHELL", "true"]);
        let mut config = ContainerConfig::default();
        for bad in [
            "",
            "CMD",
            "RUN x",
            "EXPOSE x",
            "LABEL a=b c",
            "ENV 'a",
            "HEALTHCHECK x",
        ] {
            assert!(apply_change(&mut config, bad).is_err(), "{bad}");
        }
    }
}
