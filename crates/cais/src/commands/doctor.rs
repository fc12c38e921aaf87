//! `cais doctor`.

use super::engine;
use crate::failure::Failure;
use crate::output::{print, table};
use cais::cli::DoctorArgs;
use cais_json::json;
use cais_linux::probe::probe_all;

pub(crate) fn doctor(args: &DoctorArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let findings = probe_all(engine.store.data());
    if args.json {
        for finding in &findings {
            let object = json!({
                "feature": finding.feature,
                "state": finding.state.to_string(),
                "detail": finding.detail,
                "without": finding.without,
            });
            print(&format!("{object}\n"))?;
        }
        return Ok(0);
    }
    let heading = ["FEATURE", "STATE", "DETAIL"].map(str::to_owned).to_vec();
    let row = |finding: &cais_linux::probe::Finding| {
        vec![
            finding.feature.to_string(),
            finding.state.to_string(),
            finding.detail.clone(),
        ]
    };
    let rows: Vec<_> = std::iter::once(heading).chain(findings.iter().map(row)).collect();
    print(&table(&rows))?;
    let lacking: Vec<_> = findings.iter().filter(|finding| finding.is_lack()).collect();
    if !lacking.is_empty() {
        print("\nWhat is not here, and what cais does without it:\n")?;
        for finding in lacking {
            print(&format!("  {}: {}\n", finding.feature, finding.without))?;
        }
    }
    Ok(0)
}
