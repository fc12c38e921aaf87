//! The steps of hooks: those of the host are waited for, those of the container are run by
//! the stub (runtime-spec, "POSIX-platform Hooks").

use super::planner::Planner;
use super::steps::{c_string, str_block};
use crate::spec::{Hook, Hooks, Spec};
use cais_init::step::Step;
use cais_init::wire::StrBlock;

/// Whether hooks run before the root is entered.
pub(super) fn any_before_pivot(spec: &Spec) -> bool {
    spec.hooks.as_ref().is_some_and(|hooks| {
        !hooks.prestart.is_empty() || !hooks.create_runtime.is_empty() || !hooks.create_container.is_empty()
    })
}

pub(super) fn plan_before_pivot(planner: &mut Planner<'_>) {
    let Some(hooks) = &planner.spec.hooks else { return };
    let Hooks {
        prestart,
        create_runtime,
        create_container,
        ..
    } = hooks;
    if !prestart.is_empty() || !create_runtime.is_empty() {
        planner.plan.awaits_hooks = true;
        planner.step(
            "hooks.prestart and hooks.createRuntime run on the host",
            &Step::AwaitHooks {},
        );
    }
    for hook in create_container {
        let state = planner.facts.creating_state.clone();
        plan_hook(planner, "hooks.createContainer", hook, &state);
    }
}

pub(super) fn plan_start(planner: &mut Planner<'_>) {
    let Some(hooks) = &planner.spec.hooks else { return };
    for hook in &hooks.start_container {
        let state = planner.facts.created_state.clone();
        plan_hook(planner, "hooks.startContainer", hook, &state);
    }
}

fn plan_hook(planner: &mut Planner<'_>, reason: &'static str, hook: &Hook, [head, tail]: &[String; 2]) {
    // execve(2) without arguments is refused by the kernel, or worse.
    let arguments = if hook.args.is_empty() {
        str_block(&[&hook.path])
    } else {
        str_block(&hook.args)
    };
    let environment = str_block(&hook.env);
    let timeout = hook.timeout.unwrap_or(0);
    let step = Step::RunHook {
        path: &c_string(&hook.path),
        arguments: StrBlock(&arguments),
        environment: StrBlock(&environment),
        timeout: u32::try_from(timeout).unwrap_or(0),
        head: head.as_bytes(),
        tail: tail.as_bytes(),
    };
    planner.step(reason, &step);
}
