// Drives the host's page and the chat's page in a headless Chromium, as two people would.
//
//     node browser.mjs --chromium PATH [--page http://HOST:PORT/] [--chat http://HOST:PORT/] [--screenshots DIR]
//
// `--page` is a server with its own page and the embedded echo at /websocket; `--chat` is one with the example guest chat
// and its page. Run it where `npm ci` has been (../package.json). `--chromium` takes any Chromium or Chrome, also the one
// that `cargo xtask setup` unpacks: target/clients/chromium/run.

import { mkdir } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";

import { Checks, commandLine, expect, fromWorkingDirectory } from "../checks.mjs";

const { chromium } = fromWorkingDirectory("playwright-core");

// A page in the browser that waits for longer than this waits for nothing.
const WAIT_MS = 10_000;

// Each start would otherwise look for Google's servers, which a test must not need.
const CHROMIUM_FLAGS = ["--disable-background-networking", "--disable-component-update", "--disable-quic", "--disable-sync"];

const options = commandLine("chromium", "page", "chat", "screenshots");
if (options.chromium === undefined) throw new Error("--chromium PATH is missing");
if (options.screenshots !== undefined) await mkdir(options.screenshots, { recursive: true });

const browser = await chromium.launch({ executablePath: options.chromium, args: CHROMIUM_FLAGS });
const checks = new Checks();

/** A tab at `url`. `problems` are its exceptions and what its console called an error, refusals by its policy among them. */
async function open(context, url) {
  const page = await context.newPage();
  page.setDefaultTimeout(WAIT_MS);
  page.problems = [];
  page.on("pageerror", (error) => page.problems.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") page.problems.push(message.text());
  });
  await page.goto(url);
  return page;
}

async function screenshot(page, name) {
  if (options.screenshots !== undefined) await page.screenshot({ path: join(options.screenshots, `${name}.png`) });
}

/** Waits until an element's text is, or matches, `wanted`. */
async function hasText(page, selector, wanted) {
  const matches = (text) => (wanted instanceof RegExp ? wanted.test(text) : text === wanted);
  const deadline = Date.now() + WAIT_MS;
  let text;
  do {
    text = (await page.textContent(selector))?.trim() ?? "";
    if (matches(text)) return;
    await page.waitForTimeout(20);
  } while (Date.now() < deadline);
  throw new Error(`${selector}: expected ${wanted}, got ${text}`);
}

if (options.page !== undefined) {
  const add = (name, check) => checks.add(`Chromium, page: ${name}`, check);

  /** Runs a check in a browser of its own that has the page open; any problem of the page is one of the check's. */
  const withPage = (check, contextOptions = {}) => async () => {
    const context = await browser.newContext(contextOptions);
    try {
      const page = await open(context, options.page);
      await check(page);
      expect("problems", page.problems, []);
    } finally {
      await context.close();
    }
  };

  const connect = async (page) => {
    await page.click("#connect");
    await hasText(page, "#status", "Connected");
  };

  /** The log's messages as [direction, kind, preview]. */
  const messages = (page) => page.$$eval("#log li:not([data-direction=note])", (items) =>
    items.map((item) => [item.dataset.direction, item.dataset.kind, item.querySelector(".preview").textContent]));

  /** Waits for as many messages as are wanted. Each must have been sent when its forerunner was back, to be in that order. */
  const messagesAre = async (page, wanted) => {
    await page.waitForFunction((count) => document.querySelectorAll("#log li:not([data-direction=note])").length >= count, wanted.length);
    expect("messages", await messages(page), wanted);
  };

  const sent = (kind, preview) => [["out", kind, preview], ["in", kind, preview]];

  add("it offers the echo's address and is not connected", withPage(async (page) => {
    expect("address", await page.inputValue("#url"), `${new URL("/websocket", options.page).href.replace(/^http/, "ws")}`);
    await hasText(page, "#status", "Not connected");
    expect("can send", await page.isEnabled("#send"), false);
  }));

  add("its policy lets it fetch nothing and run in no frame", withPage(async (page) => {
    const response = await page.reload();
    const policy = response.headers()["content-security-policy"] ?? "";
    for (const directive of ["default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"]) {
      if (!policy.includes(directive)) throw new Error(`no ${directive} in “${policy}”`);
    }
  }));

  add("text comes back, sent by button or Enter", withPage(async (page) => {
    await connect(page);
    await page.fill("#text", "hello é 🌪");
    await page.click("#send");
    await messagesAre(page, sent("text", "hello é 🌪"));
    await page.fill("#text", "second");
    await page.press("#text", "Enter");
    await messagesAre(page, [...sent("text", "hello é 🌪"), ...sent("text", "second")]);
    await hasText(page, "#received", "2 (19 B)");
  }));

  add("its messages are compressed, large ones too", withPage(async (page) => {
    const { extensions, sizes } = await page.evaluate(async (url) => {
      const socket = new WebSocket(url);
      await new Promise((resolve, reject) => { socket.onopen = resolve; socket.onerror = reject; });
      const sizes = [];
      for (const size of [1, 1_000, 100_000, 1_000_000]) {
        const message = "all work and no play ".repeat(size / 20 + 1).slice(0, size);
        const answer = new Promise((resolve) => { socket.onmessage = ({ data }) => resolve(data); });
        socket.send(message);
        sizes.push((await answer) === message ? size : -1);
      }
      socket.close();
      return { extensions: socket.extensions, sizes };
    }, new URL("/websocket", options.page).href.replace(/^http/, "ws"));
    expect("extensions", extensions, "permessage-deflate");
    expect("sizes", sizes, [1, 1_000, 100_000, 1_000_000]);
  }));

  add("binary comes back, from hexadecimal, Base64 and a file", withPage(async (page) => {
    await connect(page);
    await page.fill("#binary", "00ff 10");
    await page.click("#send-binary");
    const messages = sent("binary", "00 ff 10");
    await messagesAre(page, messages);
    await page.selectOption("#binary-format", "base64");
    await page.fill("#binary", "AP8R");
    await page.click("#send-binary");
    messages.push(...sent("binary", "00 ff 11"));
    await messagesAre(page, messages);
    await page.selectOption("#binary-format", "file");
    await page.setInputFiles("#file", { name: "bytes", mimeType: "application/octet-stream", buffer: Buffer.from([0, 255, 18]) });
    await page.click("#send-binary");
    messages.push(...sent("binary", "00 ff 12"));
    await messagesAre(page, messages);
  }));

  add("what is no hexadecimal is not sent, and it says why", withPage(async (page) => {
    await connect(page);
    await page.fill("#binary", "0g");
    await page.click("#send-binary");
    await hasText(page, "#binary-problem", "“g” is not a hexadecimal digit.");
    expect("messages", await messages(page), []);
  }));

  add("a message unfolds, as text or as hexadecimal", withPage(async (page) => {
    await connect(page);
    await page.fill("#text", "Hello, waterspout");
    await page.click("#send");
    await messagesAre(page, sent("text", "Hello, waterspout"));
    await page.locator("#log summary").last().press("Enter");
    const unfolded = "#log li:last-child pre";
    await hasText(page, unfolded, "Hello, waterspout");
    await page.check("#view input[value=hex]");
    await hasText(page, unfolded, /^0000 {2}48 65 6c 6c 6f.*Hello, waterspou\n0010 {2}74 +t$/);
  }));

  add("markup in a message stays text", withPage(async (page) => {
    await connect(page);
    const markup = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>";
    await page.fill("#text", markup);
    await page.click("#send");
    await messagesAre(page, sent("text", markup));
    await page.locator("#log summary").last().click();
    await hasText(page, "#log li:last-child pre", markup);
    expect("elements made of it", await page.locator("#log img, #log script").count(), 0);
    expect("title", await page.title(), "Waterspout");
  }));

  add("the round trip of a message is measured", withPage(async (page) => {
    await connect(page);
    await page.click("#ping");
    await hasText(page, "#round-trip", /^\d+\.\d ms$/);
  }));

  add("the log ends at a thousand lines", withPage(async (page) => {
    await connect(page);
    await page.fill("#text", "again");
    await page.evaluate(() => {
      for (let i = 0; i < 700; i += 1) document.getElementById("send").click();
    });
    await hasText(page, "#received", /^700 /);
    expect("lines", await page.locator("#log li").count(), 1000);
  }));

  add("it closes with a code and a reason and shows the answer", withPage(async (page) => {
    await connect(page);
    await page.fill("#close-code", "1001");
    await page.click("#close");
    await hasText(page, "#closing-problem", "The code must be 1000, or 3000 to 4999.");
    await page.fill("#close-code", "4000");
    await page.fill("#close-reason", "bye ✓");
    await page.click("#close");
    await hasText(page, "#status", "Closed: 4000, “bye ✓”, clean");
    await hasText(page, "#log li:last-child .preview", "4000, “bye ✓”, clean");
    // And again.
    await connect(page);
    await page.click("#disconnect");
    await hasText(page, "#status", "Closed: 1005, clean");
  }));

  add("it shows the server's close code and reason", withPage(async (page) => {
    await connect(page);
    await page.selectOption("#binary-format", "file");
    // One byte past max-message-bytes.
    await page.setInputFiles("#file", { name: "big", mimeType: "application/octet-stream", buffer: Buffer.alloc(10 * 1024 * 1024 + 1) });
    await page.click("#send-binary");
    await hasText(page, "#status", /^Closed: 1009, /);
  }));

  add("an address that nobody serves is a failure in words", async () => {
    const context = await browser.newContext();
    const page = await open(context, options.page);
    await page.fill("#url", new URL("/nowhere", options.page).href.replace(/^http/, "ws"));
    await page.click("#connect");
    await hasText(page, "#status", "Could not connect");
    await hasText(page, "#log li:last-child .preview", /browsers do not tell a page why/);
    await page.fill("#url", "nonsense://");
    await page.click("#connect");
    await hasText(page, "#connection-problem", /./);
    await context.close();
  });

  add("the keyboard alone is enough", withPage(async (page) => {
    await page.focus("#url");
    await page.keyboard.press("Enter");
    await hasText(page, "#status", "Connected");
    const focused = () => page.evaluate(() => document.activeElement.id);
    const tabTo = async (id) => {
      for (let presses = 0; presses < 20 && (await focused()) !== id; presses += 1) await page.keyboard.press("Tab");
      expect("focus", await focused(), id);
    };
    await tabTo("text");
    await page.keyboard.type("typed");
    await page.keyboard.press("Enter");
    await messagesAre(page, sent("text", "typed"));
    await tabTo("close-reason");
    await page.keyboard.type("done");
    await page.keyboard.press("Enter");
    await hasText(page, "#status", "Closed: 1000, “done”, clean");
  }));

  add("every control has a name", withPage(async (page) => {
    const nameless = await page.$$eval("input, select, textarea, button", (controls) => controls
      .filter((control) => !(control.labels?.length || control.getAttribute("aria-label") || (control.matches("button") && control.textContent.trim())))
      .map((control) => control.id));
    expect("without a name", nameless, []);
  }));

  for (const [name, viewport, colorScheme] of [
    ["page", { width: 1200, height: 800 }, "light"],
    ["page-dark", { width: 1200, height: 800 }, "dark"],
    ["page-phone", { width: 360, height: 760 }, "light"],
  ]) {
    add(`it fits ${viewport.width} pixels, ${colorScheme}`, withPage(async (page) => {
      await connect(page);
      await page.fill("#text", "A waterspout is a tornado over water.");
      await page.click("#send");
      await page.fill("#binary", "00 ff 10 48 65 6c 6c 6f");
      await page.click("#send-binary");
      await page.click("#ping");
      await hasText(page, "#round-trip", / ms$/);
      const [pageWidth, windowWidth] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
      if (pageWidth > windowWidth) throw new Error(`the page is ${pageWidth} wide`);
      const ground = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      const brightness = Math.max(...ground.match(/\d+/g).map(Number));
      expect("dark", brightness < 128, colorScheme === "dark");
      await screenshot(page, name);
    }, { viewport, colorScheme }));
  }

  add("a page of another origin cannot connect", async () => {
    // The same host, another port.
    const elsewhere = createServer((_, response) => response.setHeader("content-type", "text/html").end("<!doctype html><title>elsewhere</title>"));
    await new Promise((resolve) => elsewhere.listen(0, "127.0.0.1", resolve));
    const context = await browser.newContext();
    try {
      const page = await open(context, `http://127.0.0.1:${elsewhere.address().port}/`);
      const outcome = await page.evaluate((url) => new Promise((resolve) => {
        const socket = new WebSocket(url);
        socket.onopen = () => resolve("open");
        socket.onclose = (event) => resolve(event.code);
      }), new URL("/websocket", options.page).href.replace(/^http/, "ws"));
      expect("outcome", outcome, 1006);
      if (!page.problems.some((problem) => problem.includes("Unexpected response code: 403"))) {
        throw new Error(`no 403 in the console: ${page.problems.join("; ")}`);
      }
    } finally {
      await context.close();
      elsewhere.close();
    }
  });
}

if (options.chat !== undefined) {
  // Rooms outlive their last person for a while: those of another run are other rooms.
  const room = `lobby ${Date.now().toString(36)}`;

  const join = async (context, name) => {
    const page = await open(context, options.chat);
    await page.fill("#room", room);
    await page.fill("#name", name);
    await page.click("#join");
    await hasText(page, "#status", `You are in ${room} as ${name}.`);
    return page;
  };

  const say = async (page, text) => {
    await page.fill("#text", text);
    await page.click("#send");
  };

  const lineSaid = (page, who, text) => page.locator("#log li", { hasText: text }).filter({ hasText: who }).waitFor();

  const peopleAre = async (page, names) => {
    await page.waitForFunction((wanted) => [...document.querySelectorAll("#people li")].map((item) => item.textContent).join() === wanted, names.join());
  };

  checks.add("Chromium, chat: two tabs hear and see each other and a third finds the history", async () => {
    const context = await browser.newContext({ viewport: { width: 800, height: 560 } });
    try {
      const ada = await join(context, "Ada");
      await peopleAre(ada, ["Ada"]);
      const bob = await join(context, "Bob");
      for (const page of [ada, bob]) await peopleAre(page, ["Ada", "Bob"]);
      await say(ada, "Hello, Bob! <b>Is this text?</b>");
      await lineSaid(bob, "Ada", "Hello, Bob! <b>Is this text?</b>");
      await say(bob, "It is. ✓");
      for (const page of [ada, bob]) await lineSaid(page, "Bob", "It is. ✓");
      expect("elements made of a message", await bob.locator("#log b").count(), 0);
      await screenshot(ada, "chat-ada");
      await screenshot(bob, "chat-bob");

      const eve = await join(context, "Eve");
      await lineSaid(eve, "Ada", "Hello, Bob!");
      await lineSaid(eve, "Bob", "It is. ✓");
      await peopleAre(ada, ["Ada", "Bob", "Eve"]);
      await screenshot(eve, "chat-eve");

      await bob.close();
      await peopleAre(ada, ["Ada", "Eve"]);
      expect("problems", [...ada.problems, ...eve.problems], []);
    } finally {
      await context.close();
    }
  });
}

await checks.run(() => browser.close());
