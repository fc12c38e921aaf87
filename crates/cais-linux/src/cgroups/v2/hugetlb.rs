//! Huge pages (cgroup-v2.rst, "HugeTLB").

use crate::cgroups::plan::Write;

pub(crate) fn plan(huge_pages: &[(String, u64)], writes: &mut Vec<Write>) {
    for (size, limit) in huge_pages {
        writes.push(Write::new("hugetlb", format!("hugetlb.{size}.max"), limit));
    }
}
