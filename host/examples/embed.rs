//! Waterspout inside somebody else's tokio program: it has its own listener, and its own idea of when to stop.

use std::time::Duration;

use waterspout::{Application, HandlerSource, Limits, Pattern, Route, Runtime, RuntimeOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // What routes may use decides which engines there are: say it once.
    let limits = Limits { cpu_per_event: Duration::from_millis(20), ..Limits::default() };
    let runtime = Runtime::new(&RuntimeOptions::default(), [&limits])?;

    let source =
        std::env::args_os().nth(1).map_or(HandlerSource::Echo, |path| HandlerSource::File(path.into()));
    let handler = runtime.load(&source, &limits)?;
    let route = Route { limits, ..Route::new("chat", Pattern::new("/websocket")?) };
    let application = Application::new([(route, handler)], None);

    // The program's own accept loop: one socket of many that it has.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("ws://{}/websocket", listener.local_addr()?);
    loop {
        let (socket, peer) = listener.accept().await?;
        let application = application.clone();
        tokio::spawn(async move { application.serve_connection(socket, peer).await });
    }
}
