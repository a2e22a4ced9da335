//! A program that leaves before its answer.

use tokio::io::{duplex, split};

use super::super::super::watchers::follow;
use super::*;

/// CTRL-05: the program left while the coordinator carried its request out.
#[tokio::test]
async fn a_change_is_logged_although_its_program_has_left() {
    let endpoint = Endpoint::new("left", DEADLINES);
    let token = endpoint.token(OperatorRole::Operator, 60);
    let (end, watcher) = duplex(1 << 16);
    let (reader, writer) = split(end);
    tokio::spawn(follow(reader, writer, endpoint.desk.watchers.admit().expect("the first")));
    let busy = endpoint.busy.write().await;
    let mut stream = endpoint.dial().await;
    let request = format!(
        "POST /v1/pause HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("open");
    // Long enough for the request to come, and then for the end of its connection.
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(stream);
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(busy);
    let mut lines = BufReader::new(watcher).lines();
    let line = tokio::time::timeout(LONG, lines.next_line())
        .await
        .expect("it is logged")
        .expect("open")
        .expect("a line");
    let event: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(
        (&event["event"], &event["command"], &event["refused"]),
        (&json!("operator_request"), &json!("pause"), &Value::Null)
    );
}
