//! The error of a transaction that a server refused, as redis-rs has it.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use futures_util::FutureExt as _;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Pipeline, RedisConnectionInfo, RedisError, ServerError,
    make_extension_error,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::unconstrained;

use crate::connection::redis_rs;
use crate::error::text::one_line;

/// The refusals of commands, by their place in the transaction, in one error. redis-rs's own connection makes it, over
/// a stream that is none, since nothing else can.
pub(super) fn aborted(refusals: &[(usize, ServerError)]) -> RedisError {
    by_redis_rs(refusals).unwrap_or_else(|| {
        let text = "Transaction discarded because of previous errors.";
        make_extension_error("EXECABORT".to_owned(), Some(text.to_owned()))
    })
}

/// The error of a transaction whose `MULTI` was refused and whose commands a server executed one by one. Its code is
/// that of the answer to the `EXEC`: with the refusal's own (`BUSY`, a moment before) it would be one to repeat.
pub(super) fn unwrapped(refusal: &ServerError) -> RedisError {
    let (code, words) = (refusal.code(), refusal.details().unwrap_or_default());
    let why = one_line(format!("{code} {words}").trim());
    let text = format!(
        "EXEC without MULTI: MULTI was refused ({why}), and the commands were executed one by one; \
         a user of transactions needs MULTI and EXEC in its ACL"
    );
    match redis_rs::server_error(&format!("ERR {text}")) {
        Some(error) => error.into(),
        None => make_extension_error("ERR".to_owned(), Some(text)),
    }
}

fn by_redis_rs(refusals: &[(usize, ServerError)]) -> Option<RedisError> {
    // Whatever the caller's task has spent of its budget: else a channel would say "not yet", and that is nobody's wait.
    let at_once = unconstrained(poll_fn(|_| Poll::Ready(said_by_redis_rs(refusals))));
    at_once.now_or_never().flatten()
}

fn said_by_redis_rs(refusals: &[(usize, ServerError)]) -> Option<RedisError> {
    let commands = refusals.iter().map(|(place, _)| place + 1).max()?;
    let mut transaction = Pipeline::new();
    transaction.atomic().cmd("PING");
    let nobody = Nobody {
        says: replies(refusals, commands),
        was_asked: false,
    };
    let cx = &mut Context::from_waker(Waker::noop());
    let info = RedisConnectionInfo::default().set_skip_set_lib_name();
    let config = AsyncConnectionConfig::new()
        .set_response_timeout(None)
        .set_connection_timeout(None);
    let made = pin!(MultiplexedConnection::new_with_config(
        &info, nobody, config
    ))
    .poll(cx);
    let Poll::Ready(Ok((mut connection, driver))) = made else {
        return None;
    };
    let mut driver = pin!(driver);
    let mut call = pin!(connection.send_packed_commands(&transaction, commands + 1, 1));
    // It takes three turns: to ask, to write, to read.
    for _ in 0..8 {
        if let Poll::Ready(result) = call.as_mut().poll(cx) {
            return result.err();
        }
        // Its end is seen by the call.
        let _ = driver.as_mut().poll(cx);
    }
    None
}

/// What the server said to each command, in its words.
fn replies(refusals: &[(usize, ServerError)], commands: usize) -> Vec<u8> {
    let mut said = b"+OK\r\n".to_vec();
    let mut refusals = refusals.iter().peekable();
    for place in 0..commands {
        match refusals.next_if(|(at, _)| *at == place) {
            Some((_, e)) => {
                let (code, words) = (one_line(e.code()), e.details().map(one_line));
                let words = words.map_or_else(String::new, |words| format!(" {words}"));
                said.extend_from_slice(format!("-{code}{words}\r\n").as_bytes());
            }
            None => said.extend_from_slice(b"+QUEUED\r\n"),
        }
        // Two for one place: the refusal of `MULTI` stands with the first command.
        while refusals.next_if(|(at, _)| *at <= place).is_some() {}
    }
    said.extend_from_slice(b"-EXECABORT Transaction discarded because of previous errors.\r\n");
    said
}

/// A stream that answers once it was asked.
struct Nobody {
    says: Vec<u8>,
    was_asked: bool,
}

impl AsyncRead for Nobody {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.was_asked || self.says.is_empty() {
            return Poll::Pending;
        }
        let n = buf.remaining().min(self.says.len());
        buf.put_slice(&self.says[..n]);
        self.says.drain(..n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Nobody {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.was_asked = true;
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::Value;

    fn refusal(line: &str) -> ServerError {
        match redis::parse_redis_value(line.as_bytes()) {
            Ok(Value::ServerError(e)) => e,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_refused_transaction_is_redis_rss_own_error() {
        let refusals = [
            (1, refusal("-OOM command not allowed\r\n")),
            (4, refusal("-ERR unknown command 'X'\r\n")),
        ];
        let error = aborted(&refusals);
        assert_eq!(error.code(), Some("EXECABORT"), "{error}");
        let inside = error.into_server_errors().expect("all of them");
        assert_eq!(&inside[..], &refusals);
        let many: Vec<_> = (0..5000).map(|n| (n, refusal("-READONLY\r\n"))).collect();
        let inside = aborted(&many).into_server_errors().expect("all of them");
        assert_eq!(inside.len(), 5000);
    }

    #[tokio::test]
    async fn a_task_that_has_spent_its_budget_is_told_the_same() {
        let refusals = [(0, refusal("-OOM command not allowed\r\n"))];
        let inside = poll_fn(|cx| {
            let spend = || Box::pin(tokio::task::consume_budget());
            let mut turns = 0;
            while spend().as_mut().poll(cx).is_ready() {
                turns += 1;
                assert!(turns < 100_000, "a budget ends");
            }
            Poll::Ready(aborted(&refusals).into_server_errors())
        });
        let inside = inside.await.expect("what was refused");
        assert_eq!(&inside[..], &refusals);
    }

    #[test]
    fn the_refusal_of_multi_itself_is_told_too() {
        let twice = [
            (0, refusal("-NOPERM no multi\r\n")),
            (0, refusal("-OOM x\r\n")),
        ];
        let error = aborted(&twice);
        assert_eq!(error.code(), Some("EXECABORT"));
        let inside = error.into_server_errors().expect("the first");
        assert_eq!(inside[0].1.code(), "NOPERM");
    }
}
