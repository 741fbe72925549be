//! "Why did this call go there?" and "what would this rule have blocked?"

use serde_json::json;

use super::Site;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_explained_by_either_id_with_its_choice_and_its_outcome() {
    let site = Site::new(2).await;
    let life = site.start().await;
    life.nodes_up().await;
    site.ends.place("first@example.com", "+4930123001", 100).await;
    site.ends.place("busy/1", "+4930125001", 100).await;
    site.ends.settled().await;
    life.until("told", || life.edge.snapshot().counters.ended == 1 && life.edge.snapshot().counters.failed == 1).await;

    let answer = life.get("/v1/explain/first@example.com").await;
    assert_eq!(answer["reach"]["since_start"], true);
    let call = &answer["calls"][0];
    let decision = &call["decisions"][0];
    assert_eq!((&decision["kind"], &decision["source"]), (&json!("attempt"), &json!("trunk/north")));
    assert_eq!(decision["pool"], "inbound");
    assert_eq!(decision["candidates"].as_array().unwrap().len(), 2);
    let chosen = decision["chosen"].as_str().unwrap();
    assert!(["node/fs-1", "node/fs-2"].contains(&chosen), "{chosen}");
    let sentence = decision["sentence"].as_str().unwrap();
    assert!(sentence.starts_with("sent to node fs-") && sentence.contains("from pool inbound"), "{sentence}");
    assert_eq!((&call["outcome"]["kind"], &call["outcome"]["status"]), (&json!("answered"), &json!(200)));
    assert!(!answer.to_string().contains("+4917012345"), "numbers are masked");
    let whole = life.get("/v1/explain/first@example.com?numbers=true").await;
    assert_eq!(whole["calls"][0]["decisions"][0]["caller"], "+4917012345");

    assert_eq!(life.get("/v1/limits").await["edge"]["decisions"], json!({"used": 2, "most": 100_000, "missed": 0}));
    let same = life.get(&format!("/v1/explain/{}", call["call_id"].as_str().unwrap())).await;
    assert_eq!(same["calls"][0]["decisions"], call["decisions"]);
    let busy = life.get("/v1/explain/busy%2F1").await;
    assert_eq!(busy["calls"][0]["outcome"]["status"], 486);
    let (status, why) = life.refused("GET", "/v1/explain/nobody", json!({})).await;
    assert!(status == 404 && why.contains("among the last 2; they reach back to 20"), "{status} {why}");
    life.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_says_what_a_rule_would_have_blocked_and_how_far_back_it_knows() {
    let site = Site::new(1).await;
    let mut config = site.config(1);
    config.trunks[0].emergency = Some(vec!["+4930123002".into()]);
    site.write(config);
    let life = site.start().await;
    life.nodes_up().await;
    for i in 0..10 {
        site.ends.place(&format!("to-3001-{i}"), "+4930123001", 50).await;
    }
    site.ends.place("busy", "+4930125001", 50).await;
    site.ends.place("emergency", "+4930123002", 50).await;
    site.ends.settled().await;
    life.until("all told", || life.edge.snapshot().counters.ended == 11).await;

    let rule = |scope| json!({ "scope": scope });
    let run =
        life.change("POST", "/v1/blocks/dry-run", rule(json!({"trunk": "north", "callee_prefix": "+4930123"}))).await;
    assert_eq!(
        (&run["calls"], &run["would_block"], &run["spared"], &run["answered"]),
        (&json!(12), &json!(10), &json!(1), &json!(10))
    );
    assert_eq!(run["by_trunk"], json!({"north": 10}));
    assert!(run["advice"].as_str().unwrap().contains("shadow"), "{run}");
    assert!(run["reach"]["since_us"].as_i64().unwrap() > 0 && run["reach"]["decisions"] == 12);
    assert!(!run.to_string().contains("4917012345"));
    let harmless =
        life.change("POST", "/v1/blocks/dry-run", rule(json!({"trunk": "north", "callee_prefix": "+4930125"}))).await;
    assert_eq!((&harmless["would_block"], &harmless["answered"]), (&json!(1), &json!(0)));
    let network = life.change("POST", "/v1/blocks/dry-run", rule(json!({"source_cidr": "127.0.0.0/8"}))).await;
    assert_eq!(network["would_block"], 11);
    for wrong in [json!({}), json!({"callee": "+491"}), json!({"source_cidr": "everywhere"})] {
        assert_eq!(life.refused("POST", "/v1/blocks/dry-run", rule(wrong)).await.0, 422);
    }
    life.stop().await;
}
