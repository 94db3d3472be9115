//! The rules for the spec of a Job.

use super::*;
use serde_json::json;

fn complaints(fields: &Value) -> Vec<String> {
    let mut spec = json!({
        "template": {"spec": {
            "restartPolicy": "Never", "dnsPolicy": "Default", "terminationGracePeriodSeconds": 30,
            "containers": [{
                "name": "c", "image": "i", "imagePullPolicy": "Always", "terminationMessagePolicy": "File",
            }],
        }},
    });
    json_patch::merge(&mut spec, fields);
    let mut errors = Errors::default();
    validate(&spec, &Path::new("spec"), &mut errors);
    errors.into_vec().iter().map(ToString::to_string).collect()
}

#[test]
fn indexed_jobs() {
    let indexed = |fields: Value| {
        let mut spec = json!({"completionMode": "Indexed", "completions": 3, "parallelism": 1});
        json_patch::merge(&mut spec, &fields);
        spec
    };
    for (fields, expected) in [
        (indexed(json!({"backoffLimitPerIndex": 1, "maxFailedIndexes": 3})), vec![]),
        (
            indexed(json!({"maxFailedIndexes": 4})),
            vec![
                "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
                "spec.maxFailedIndexes: Invalid value: 4: must be less than or equal to completions",
            ],
        ),
        (
            indexed(json!({"parallelism": 100_001})),
            vec![
                "spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is Indexed",
            ],
        ),
        (
            indexed(json!({"completions": 100_001, "parallelism": 10_001, "backoffLimitPerIndex": 1})),
            vec![
                "spec.parallelism: Invalid value: 10001: must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index",
                "spec.maxFailedIndexes: Required value: must be specified when completions is above 100000",
            ],
        ),
        (
            json!({"backoffLimitPerIndex": 1, "maxFailedIndexes": 1}),
            vec![
                "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode",
                "spec.maxFailedIndexes: Invalid value: 1: requires indexed completion mode",
            ],
        ),
        (
            json!({"successPolicy": {"rules": []}}),
            vec![
                "spec.successPolicy: Invalid value: batch.SuccessPolicy{Rules:[]batch.SuccessPolicyRule(nil)}: requires indexed completion mode",
            ],
        ),
        (
            indexed(
                json!({"successPolicy": {"rules": [{}, {"succeededIndexes": "0-9"}, {"succeededIndexes": "0", "succeededCount": 4}]}}),
            ),
            vec![
                "spec.successPolicy.rules[0]: Required value: at least one of succeededCount or succeededIndexes must be specified",
                "spec.successPolicy.rules[1].succeededIndexes: Invalid value: \"0-9\": error parsing succeededIndexes: too large index: \"9\"",
                "spec.successPolicy.rules[2].succeededCount: Invalid value: 4: must be less than or equal to 3 (the number of specified completions)",
                "spec.successPolicy.rules[2].succeededCount: Invalid value: 4: must be less than or equal to 1 (the number of indexes in the specified succeededIndexes field)",
            ],
        ),
        (
            json!({"managedBy": "me", "podReplacementPolicy": "Odd"}),
            vec![
                "spec.managedBy: Invalid value: \"me\": must be a domain-prefixed path (such as \"acme.io/foo\")",
                "spec.podReplacementPolicy: Unsupported value: \"Odd\": supported values: \"Failed\", \"TerminatingOrFailed\"",
            ],
        ),
    ] {
        assert_eq!(complaints(&fields), expected, "{fields}");
    }
}

#[test]
fn failure_policies() {
    let rule = |rule: Value| json!({"podFailurePolicy": {"rules": [rule]}, "podReplacementPolicy": "Failed"});
    for (fields, expected) in [
        (rule(json!({"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1, 2]}})), vec![]),
        (
            rule(json!({})),
            vec![
                "spec.podFailurePolicy.rules[0].action: Required value: valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]",
                "spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
            ],
        ),
        (
            rule(json!({"action": "FailIndex", "onPodConditions": [{"type": "Ready", "status": "Odd"}]})),
            vec![
                "spec.podFailurePolicy.rules[0].action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set",
                "spec.podFailurePolicy.rules[0].onPodConditions[0].status: Unsupported value: \"Odd\": supported values: \"False\", \"True\", \"Unknown\"",
            ],
        ),
        (
            rule(
                json!({"action": "Count", "onExitCodes": {"containerName": "x", "operator": "In", "values": [2, 0, 2]}}),
            ),
            vec![
                "spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: \"x\": must be one of the container or initContainer names in the pod template",
                "spec.podFailurePolicy.rules[0].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
                "spec.podFailurePolicy.rules[0].onExitCodes.values[2]: Duplicate value: 2",
                "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: []int32{2, 0, 2}: must be ordered",
            ],
        ),
    ] {
        assert_eq!(complaints(&fields), expected, "{fields}");
    }
    let many: Vec<Value> =
        (0..21).map(|_| json!({"action": "Count", "onExitCodes": {"operator": "NotIn", "values": [0]}})).collect();
    assert_eq!(
        complaints(&json!({"podFailurePolicy": {"rules": many}})),
        ["spec.podFailurePolicy.rules: Too many: 21: must have at most 20 items"]
    );
}
