//! A tonic service behind the layer: unary and streaming, with trailers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, BufMut as _};
use fluster::forward::header;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use http::uri::PathAndQuery;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Response, Status, Streaming};
use tower_service::Service;

use super::*;

/// Messages are bytes: no generated code is needed.
#[derive(Clone, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut item = vec![0; from.remaining()];
        from.copy_to_slice(&mut item);
        Ok(Some(item))
    }
}

/// `Once` answers with its name and the message, `Twice` each message as it comes; `fail` is an error.
#[derive(Clone)]
struct Echo(&'static str);

fn refusal() -> Status {
    let mut more = MetadataMap::new();
    more.insert("x-more", "of the owner".parse().unwrap());
    Status::with_metadata(Code::FailedPrecondition, "it was asked to", more)
}

impl Echo {
    fn say(&self, message: &[u8]) -> Result<Vec<u8>, Status> {
        match message {
            b"fail" => Err(refusal()),
            message => Ok([self.0.as_bytes(), b" ", message].concat()),
        }
    }
}

struct Once(Echo);

impl Service<Request<Vec<u8>>> for Once {
    type Response = Response<Vec<u8>>;
    type Error = Status;
    type Future = std::future::Ready<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Vec<u8>>) -> Self::Future {
        std::future::ready(self.0.say(request.get_ref()).map(Response::new))
    }
}

struct Each(Echo);

type Messages = Pin<Box<dyn futures_util::Stream<Item = Result<Vec<u8>, Status>> + Send>>;

impl Service<Request<Streaming<Vec<u8>>>> for Each {
    type Response = Response<Messages>;
    type Error = Status;
    type Future = std::future::Ready<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<Vec<u8>>>) -> Self::Future {
        let echo = self.0.clone();
        let answers = request.into_inner().map(move |message| echo.say(&message?));
        std::future::ready(Ok(Response::new(Box::pin(answers))))
    }
}

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

impl Service<http::Request<tonic::body::Body>> for Echo {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let echo = self.clone();
        let mut grpc = tonic::server::Grpc::new(Raw);
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/test.Echo/Once" => grpc.unary(Once(echo), request).await,
                _ => grpc.streaming(Each(echo), request).await,
            })
        })
    }
}

fn grpc(place: Place, list: &[(String, String)]) -> (String, FixedPeers, Ends) {
    let (name, base) = (place.name, place.base.clone());
    let peers = peers(name, list);
    let forward = Forwarder::new(&peers).unwrap();
    let listener = tokio_stream::wrappers::TcpListenerStream::new(place.listener());
    let server = Server::builder()
        .layer(forward.layer(header("x-key")))
        .add_service(Echo(name));
    let server = ends(async move { server.serve_with_incoming(listener).await.unwrap() });
    (base, peers, server)
}

async fn client(base: &str) -> tonic::client::Grpc<Channel> {
    let channel = Channel::from_shared(base.to_owned())
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    client
}

fn keyed<T>(key: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-key", key.parse().unwrap());
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unary_calls_are_answered_by_the_owner_errors_and_trailers_included() {
    let places = [place("a"), place("b")];
    let list: Vec<_> = places.iter().map(Place::entry).collect();
    let all = places.map(|place| grpc(place, &list));
    let path = PathAndQuery::from_static("/test.Echo/Once");
    for (base, peers, _) in &all {
        let mut client = client(base).await;
        for owner in ["a", "b"] {
            let key = key_of(owner, peers);
            client.ready().await.unwrap();
            let answer = client
                .unary(keyed(&key, b"hello".to_vec()), path.clone(), Raw)
                .await;
            assert_eq!(
                answer.unwrap().into_inner(),
                format!("{owner} hello").into_bytes()
            );
            client.ready().await.unwrap();
            let answer = client
                .unary(keyed(&key, b"fail".to_vec()), path.clone(), Raw)
                .await;
            let status = answer.map(|_: Response<Vec<u8>>| ()).unwrap_err();
            assert_eq!(
                (status.code(), status.message()),
                (Code::FailedPrecondition, "it was asked to")
            );
            assert_eq!(status.metadata().get("x-more").unwrap(), "of the owner");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_go_to_and_fro_message_by_message() {
    let places = [place("a"), place("b")];
    let list: Vec<_> = places.iter().map(Place::entry).collect();
    let all = places.map(|place| grpc(place, &list));
    let mut client = client(&all[0].0).await;
    let key = key_of("b", &all[0].1);
    let (messages, sent) = tokio::sync::mpsc::channel(1);
    let sent = futures_util::stream::unfold(sent, |mut sent| async {
        sent.recv().await.map(|message: Vec<u8>| (message, sent))
    });
    let path = PathAndQuery::from_static("/test.Echo/Each");
    messages.send(b"0".to_vec()).await.unwrap();
    let answer = client
        .streaming(keyed(&key, sent), path, Raw)
        .await
        .unwrap();
    let mut answers: Streaming<Vec<u8>> = answer.into_inner();
    // Each one is answered before the next one is sent: nothing is collected on the way.
    for n in 0..100 {
        let answer = tokio::time::timeout(LONG, answers.message()).await.unwrap();
        assert_eq!(answer.unwrap().unwrap(), format!("b {n}").into_bytes());
        messages
            .send(format!("{}", n + 1).into_bytes())
            .await
            .unwrap();
    }
    assert_eq!(answers.message().await.unwrap().unwrap(), b"b 100");
    messages.send(b"fail".to_vec()).await.unwrap();
    let status = answers.message().await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "the trailers came");
    assert_eq!(status.metadata().get("x-more").unwrap(), "of the owner");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_answers_is_a_status_that_clients_of_grpc_know() {
    let a = place("a");
    let list = [a.entry(), nowhere("b")];
    let (base, peers, _server) = grpc(a, &list);
    let mut client = client(&base).await;
    let key = key_of("b", &peers);
    let path = PathAndQuery::from_static("/test.Echo/Once");
    let answer = client
        .unary(keyed(&key, b"hello".to_vec()), path, Raw)
        .await;
    let status = answer.map(|_: Response<Vec<u8>>| ()).unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains("cannot be reached"), "{status}");
}
