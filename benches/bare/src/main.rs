//! The limit of what is built on reqwest: one client, one connection, one call after the other, on a runtime of one thread.
//! bare URL AUTHORIZATION SECONDS CA|-

use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Certificate, Client};

type Failure = Box<dyn std::error::Error>;

async fn exchange(client: &Client, url: &str) -> Result<(), Failure> {
    let answer = client.get(url).send().await?.error_for_status()?;
    let object: serde_json::Value = serde_json::from_slice(&answer.bytes().await?)?;
    match object["finished"].as_bool() {
        Some(true) => Ok(()),
        _ => Err("another answer".into()),
    }
}

/// User and system time of this process.
fn cpu() -> Result<f64, Failure> {
    let stat = std::fs::read_to_string("/proc/self/schedstat")?;
    let nanoseconds: f64 = stat.split(' ').next().unwrap_or_default().parse()?;
    Ok(nanoseconds / 1e9)
}

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().collect();
    let [_, url, authorization, seconds, ca] = words.as_slice() else { return Err("URL AUTHORIZATION SECONDS CA|-".into()) };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(authorization)?)]);
    let mut builder = Client::builder().default_headers(headers).timeout(Duration::from_secs(30)).no_proxy();
    builder = match ca.as_str() {
        "-" => builder.tls_certs_only([]),
        path => builder.tls_certs_only(Certificate::from_pem_bundle(&std::fs::read(path)?)?),
    };
    let client = builder.build()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // As a blocking call does it: in and out of the runtime for each.
    let call = || runtime.block_on(exchange(&client, url));
    (0..50).try_for_each(|_| call())?;
    let (limit, start, start_cpu, mut calls) = (Duration::from_secs_f64(seconds.parse()?), Instant::now(), cpu()?, 0_u32);
    while start.elapsed() < limit {
        (0..50).try_for_each(|_| call())?;
        calls += 50;
    }
    let each = |seconds: f64| seconds / f64::from(calls) * 1e6;
    let (us, cpu_us) = (each(start.elapsed().as_secs_f64()), each(cpu()? - start_cpu));
    println!("{{\"calls\": {calls}, \"us\": {us:.3}, \"cpu_us\": {cpu_us:.3}}}");
    Ok(())
}
