//! What the servers run for `exec`: bytes made, counted or returned in this process.

use super::peer::{Outcome, Sink, Source};

/// Runs a command line to its end and gives its exit status.
///
/// `zeros N` writes N bytes, `count` says how many it was sent, `echo` returns them, `true` does nothing.
pub async fn run(line: &str, source: impl Source, sink: &impl Sink) -> u32 {
    let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
    let ran = match (verb, argument.parse()) {
        ("zeros", Ok(bytes)) => sink.send_zeros(bytes).await,
        ("count", _) => count(source, sink).await,
        ("echo", _) => echo(source, sink).await,
        ("true", _) => Ok(()),
        _ => return 127,
    };
    u32::from(ran.is_err())
}

async fn count(mut source: impl Source, sink: &impl Sink) -> Outcome<()> {
    let mut total = 0;
    while let Some(data) = source.next().await {
        total += data.len();
    }
    sink.send(format!("{total}\n").into()).await
}

async fn echo(mut source: impl Source, sink: &impl Sink) -> Outcome<()> {
    while let Some(data) = source.next().await {
        sink.send(data).await?;
    }
    Ok(())
}
