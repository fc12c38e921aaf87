//! JSON of a configuration, as far as the plan.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(spec) = cais_runtime::spec::parse_spec(data) {
        let facts = cais_runtime::plan::facts::PlanFacts::default();
        if let Ok(plan) = cais_runtime::plan::plan_container(&spec, &facts) {
            // What was planned can be read back, step by step.
            assert_eq!(plan.steps.iter().count(), plan.steps.count());
        }
    }
});
