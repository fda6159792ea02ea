//! A server for the tests of the examples: one file, whatever is asked for.

use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::TcpListener;

/// Serves `content` from now on; returns its address.
pub(crate) async fn serve(content: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/file.bin", listener.local_addr().unwrap());
    smol::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", content.len());
            let _ = stream.write_all(&[head.as_bytes(), content].concat()).await;
        }
    })
    .detach();
    url
}
