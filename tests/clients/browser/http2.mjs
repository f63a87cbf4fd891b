// A WebSocket of a page over HTTP/2, in a headless Chromium: it uses the socket that the page came over (RFC 8441).
//
//     node http2.mjs --chromium PATH --page https://HOST:PORT/

import { Checks, commandLine, expect, fromWorkingDirectory } from "../checks.mjs";

const { chromium } = fromWorkingDirectory("playwright-core");

const options = commandLine("chromium", "page");
if (options.chromium === undefined || options.page === undefined) throw new Error("--chromium PATH and --page URL are needed");

const flags = [
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-quic",
  "--disable-sync",
  // The certificate is the test's own.
  "--ignore-certificate-errors",
];
const browser = await chromium.launch({ executablePath: options.chromium, args: flags });
const context = await browser.newContext({ ignoreHTTPSErrors: true });
const page = await context.newPage();
const checks = new Checks();

checks.add("the page comes over HTTP/2", async () => {
  await page.goto(options.page);
  const protocol = await page.evaluate(() => performance.getEntriesByType("navigation")[0].nextHopProtocol);
  expect("nextHopProtocol", protocol, "h2");
});

checks.add("its WebSockets echo, and close", async () => {
  const answers = await page.evaluate(async () => {
    const echo = (text) =>
      new Promise((resolve, reject) => {
        const socket = new WebSocket(`wss://${location.host}/websocket`);
        socket.onopen = () => socket.send(text);
        socket.onerror = () => reject(new Error("it failed"));
        socket.onmessage = ({ data }) => {
          socket.onclose = ({ code, wasClean }) => resolve([data, code, wasClean]);
          socket.close(1000);
        };
      });
    return Promise.all([echo("hé"), echo("x".repeat(200_000)).then(([text, ...end]) => [text.length, ...end])]);
  });
  expect("answers", answers, [["hé", 1000, true], [200_000, 1000, true]]);
});

await checks.run(async () => browser.close());
