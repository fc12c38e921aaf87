//! JSON of resources and of a process.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(resources) = cais_runtime::spec::parse_json::<cais_runtime::spec::Resources>(data) {
        let has = |_: &str| true;
        if let Ok(limits) = cais_runtime::cgroup::resources_of(&resources) {
            cais_linux::cgroups::plan::plan_v1(&limits, &has).ok();
            cais_linux::cgroups::plan::plan_v2(&limits, &has).ok();
        }
    }
    if let Ok(process) = cais_runtime::spec::parse_json::<cais_runtime::spec::Process>(data) {
        cais_runtime::spec::validate::check_process(&process, "process").ok();
    }
});
