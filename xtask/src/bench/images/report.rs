//! The figures of images: on the terminal, in docs/benchmarks.md, as JSON and as a plot.

use super::super::{plot, tables};
use super::Figures;
use super::corpus::Corpus;
use crate::{Outcome, workspace};
use serde_json::json;
use std::fs;

const WHO: [&str; 5] = ["cais", "curl | tar", "docker", "podman", "skopeo + umoci"];

pub(super) fn show(corpus: &Corpus, figures: &Figures) -> Outcome {
    for ((what, who), samples) in &figures.times {
        println!(
            "{what:<24}{who:<16}{:>9.1}ms{:>9.1}ms{:>9.1}ms",
            samples.median(),
            samples.percentile(10),
            samples.percentile(90)
        );
    }
    for (what, peak) in &figures.peaks {
        println!("{what:<24}peak of cais    {peak:>9} KiB");
    }
    for (who, reason) in &figures.absent {
        println!("{who}: not measured, at least once: {reason}");
    }
    let pulls = pulls(corpus, figures);
    tables::fill("docs/benchmarks.md", "images", &pulls)?;
    tables::fill("docs/benchmarks.md", "images-more", &others(figures))?;
    write_files(corpus, figures)
}

fn milliseconds(value: f64) -> String {
    if value.is_nan() {
        "–".to_owned()
    } else if value < 100.0 {
        format!("{value:.1} ms")
    } else {
        format!("{value:.0} ms")
    }
}

fn pulls(corpus: &Corpus, figures: &Figures) -> String {
    let mut head = vec![""];
    head.extend(WHO);
    head.extend(["cais to curl and tar", "cais to docker", "peak memory of cais"]);
    let rows: Vec<Vec<String>> = corpus
        .images
        .iter()
        .map(|image| {
            let median = |who| figures.median(&image.label, who);
            let mut row = vec![format!("{} ({} MB)", image.label, image.compressed / 1_000_000)];
            row.extend(WHO.map(|who| milliseconds(median(who))));
            for who in ["curl | tar", "docker"] {
                let ratio = median("cais") / median(who);
                row.push(if ratio.is_nan() {
                    "–".to_owned()
                } else {
                    format!("{ratio:.2} ×")
                });
            }
            let peak = figures.peaks.get(&image.label).copied().unwrap_or(0);
            row.push(format!(
                "{:.1} MiB",
                f64::from(u32::try_from(peak).unwrap_or(u32::MAX)) / 1024.0
            ));
            row
        })
        .collect();
    tables::markdown(&head, &rows)
}

fn others(figures: &Figures) -> String {
    let label = |what: &str, who: &str| match (what, who) {
        ("push", "cais, zstd") => Some("`cais push --compression zstd`, 5 layers, to an empty registry"),
        ("push", "cais, gzip") => Some("`cais push`, the same"),
        ("push", "docker") => Some("`docker push`, the same"),
        ("pull again", "cais") => Some("`cais pull` of what is there"),
        ("pull again", "curl") => Some("the registry's answer alone, by curl"),
        ("pull again", "docker") => Some("`docker pull` of what is there"),
        ("pack of nginx", _) => Some("`cais pack -t web /usr/sbin/nginx`"),
        ("images, 1,000 of them", _) => Some("`cais images` with 1,000 images"),
        ("first start", _) => Some("the first `cais run` of an image just pulled"),
        ("further start", _) => Some("further ones"),
        ("start from --rootfs", _) => Some("`cais run --rootfs` of the same tree"),
        _ => None,
    };
    let rows: Vec<Vec<String>> = figures
        .times
        .iter()
        .filter_map(|((what, who), samples)| {
            let (p10, p90) = (samples.percentile(10), samples.percentile(90));
            let figure = format!("{} ({p10:.1} to {p90:.1})", milliseconds(samples.median()));
            label(what, who).map(|label| vec![label.to_owned(), figure])
        })
        .collect();
    tables::markdown(&["", "median (p10 to p90)"], &rows)
}

fn write_files(corpus: &Corpus, figures: &Figures) -> Outcome {
    let directory = workspace::root().join("docs/benchmarks");
    fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    let times: Vec<_> = figures
        .times
        .iter()
        .map(|((what, who), samples)| {
            json!({
                "what": what, "who": who, "rounds": samples.count(), "median": samples.median(),
                "p10": samples.percentile(10), "p90": samples.percentile(90),
            })
        })
        .collect();
    let data = json!({
        "plain_bytes": corpus.plain,
        "compressed_bytes": corpus.images.iter().map(|image| (image.label.clone(), image.compressed.into())).collect::<serde_json::Map<_, serde_json::Value>>(),
        "milliseconds": times,
        "peak_kib": figures.peaks,
        "absent": figures.absent,
    });
    let text = serde_json::to_string_pretty(&data).map_err(|error| error.to_string())?;
    fs::write(directory.join("images.json"), text + "\n").map_err(|error| error.to_string())?;
    let mut rows = Vec::new();
    for image in &corpus.images {
        for who in WHO {
            if let Some(samples) = figures.times.get(&(image.label.clone(), who)) {
                let name = format!(
                    "{who}: {}",
                    image.label.replace(" layers", "").replace(" layer", "")
                );
                rows.push((
                    name,
                    samples.median(),
                    samples.percentile(10),
                    samples.percentile(90),
                ));
            }
        }
    }
    let title = "Milliseconds to pull and unpack (median; line: p10 to p90)";
    fs::write(directory.join("images.svg"), plot::bars(title, &rows)).map_err(|error| error.to_string())?;
    println!("written: docs/benchmarks/images.json and images.svg, the tables in docs/benchmarks.md");
    Ok(())
}
