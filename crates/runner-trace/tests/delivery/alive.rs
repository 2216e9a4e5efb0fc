use serde_json::json;

use crate::harness::{Site, hello, soon};

#[tokio::test]
async fn a_quiet_job_says_every_half_minute_that_it_is_alive() {
    let site = Site::new().await;
    let job = site.job().await;
    let mut tool = site.start();
    tool.send(&[hello(), job.open(), job.pod(0, "quiet now\n")]).await;
    let put = soon("the keep-alive", site.gitlab.wait_request(|request| request.method == "PUT")).await;
    let body = put.json.unwrap();
    assert_eq!(body["state"], "running");
    assert_eq!(body["output"], json!({"checksum": site.gitlab.job(job.id).unwrap().trace_crc32, "bytesize": 10}));
    tool.kill().await;
}
