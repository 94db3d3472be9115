//! Deletion, as watchers and those who delete see it.

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::store::EventKind;

#[tokio::test]
async fn pods_go_with_the_marks_of_their_deletion_and_all_else_as_it_was() {
    let objects = with_namespace().await;
    let mut bound = pod();
    bound["spec"]["nodeName"] = json!("n1");
    let map = json!({"metadata": {"name": "a"}});
    let grace = |object: &Value| object["metadata"]["deletionGracePeriodSeconds"].as_i64();
    for (kind, body, graces, left) in [
        ("Pod", pod(), vec![None], Some(0)),
        ("Pod", bound.clone(), vec![Some(0)], Some(0)),
        ("Pod", bound.clone(), vec![None, Some(10), Some(0)], Some(0)),
        ("ConfigMap", map, vec![Some(0)], None),
    ] {
        let named = target(&objects, "v1", kind, "a");
        create(&objects, &named, body).await.expect("valid");
        let mut answer = Value::Null;
        for grace in &graces {
            let written = delete(&objects, &named, *grace).await.expect("there");
            answer = json_of(&written);
        }
        let event = objects.store().changes(objects.snapshot().revision() - 1, 1).expect("retained").remove(0);
        let told: Value = event.object.parse().expect("stored objects are JSON");
        assert_eq!((event.kind, grace(&told)), (EventKind::Deleted, left), "{kind} {graces:?}");
        assert_eq!(told["metadata"]["deletionTimestamp"].is_string(), left.is_some(), "{kind} {graces:?}");
        assert_eq!(told["metadata"]["resourceVersion"], event.revision.to_string());
        assert_eq!(answer, told, "{kind} {graces:?}");
    }
}

#[tokio::test]
async fn a_repeated_deletion_counts_from_the_first() {
    let objects = with_namespace().await;
    let named = target(&objects, "v1", "Pod", "a");
    let mut body = pod();
    body["spec"]["nodeName"] = json!("n1");
    create(&objects, &named, body).await.expect("valid");
    let due = |written: &Written| json_of(written)["metadata"]["deletionTimestamp"].as_str().unwrap().parse().unwrap();
    let first: Timestamp = due(&delete(&objects, &named, Some(60)).await.expect("there"));
    for (asked, grace) in [(None, 60), (Some(90), 60), (Some(20), 20), (None, 20), (Some(-4), 1)] {
        let repeated = delete(&objects, &named, asked).await.expect("there");
        assert_eq!(json_of(&repeated)["metadata"]["deletionGracePeriodSeconds"], grace, "{asked:?}");
        assert_eq!(due(&repeated), first - SignedDuration::from_secs(60 - grace), "{asked:?}");
    }
}
