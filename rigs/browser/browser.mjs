// A browser as a person uses it: does the steps of a plan in headless Chromium.
//
// Standard input: {"steps": [...]}. Each step names a browser (`in`, by default "own"); each name is a browser of its own, with
// its own cookies. A step is one of
//   {"goto": URL}  {"reload": true}  {"fill": [SELECTOR, TEXT]}  {"click": SELECTOR}  {"until": TEXT}   wait until the page has this text
//   {"read": true}                           what the page is: url, status, title, text, and what was loaded or violated
//   {"measure": {"width", "height", "scheme": "light"|"dark", "shot": FILE or null}}   its layout in that window
// Standard output: a list, one item for each `read` and `measure`.
// Environment: CHROMIUM, the program [chromium].
import { chromium } from 'playwright-core';

const timeout_ms = 20_000;
const plan = JSON.parse(await new Response(process.stdin).text());
const engine = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? 'chromium',
  // Tests may run as root in a container, where Chromium has no sandbox of its own; it opens pages of this machine alone.
  args: ['--no-sandbox', '--disable-dev-shm-usage'],
});
const browsers = new Map();
const results = [];

async function browser(name) {
  if (!browsers.has(name)) {
    const context = await engine.newContext({ viewport: { width: 1280, height: 800 } });
    const page = await context.newPage();
    page.setDefaultTimeout(timeout_ms);
    const state = { page, status: 0, loaded: [], console: [] };
    page.on('response', (response) => {
      const request = response.request();
      if (request.isNavigationRequest() && request.frame() === page.mainFrame()) {
        // What came before belongs to the page before.
        state.status = response.status();
        state.loaded = [];
        state.console = [];
      } else {
        state.loaded.push(new URL(response.url()).pathname);
      }
    });
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) state.console.push(message.text());
    });
    page.on('pageerror', (error) => state.console.push(String(error)));
    browsers.set(name, state);
  }
  return browsers.get(name);
}

async function read({ page, status, loaded, console }) {
  const text = (await page.locator('body').innerText()).trim();
  return { url: page.url(), status, title: await page.title(), text, loaded, console };
}

async function measure({ page }, { width, height, scheme, shot }) {
  await page.setViewportSize({ width, height });
  await page.emulateMedia({ colorScheme: scheme });
  if (shot) await page.screenshot({ path: shot });
  return page.evaluate(() => ({
    width: window.innerWidth,
    page_width: document.documentElement.scrollWidth,
    background: getComputedStyle(document.body).backgroundColor,
    color: getComputedStyle(document.body).color,
  }));
}

try {
  for (const step of plan.steps) {
    const state = await browser(step.in ?? 'own');
    const { page } = state;
    if (step.goto) await page.goto(step.goto, { timeout: timeout_ms });
    else if (step.reload) await page.reload();
    else if (step.fill) await page.fill(...step.fill);
    else if (step.click) await page.click(step.click);
    else if (step.until) await page.getByText(step.until).first().waitFor();
    else if (step.read) results.push(await read(state));
    else if (step.measure) results.push(await measure(state, step.measure));
    else throw new Error(`no such step: ${JSON.stringify(step)}`);
  }
  process.stdout.write(JSON.stringify(results));
} catch (error) {
  const pages = await Promise.all([...browsers.values()].map(read).map((page) => page.catch(String)));
  process.stderr.write(`${error.stack}\n${JSON.stringify(pages)}\n`);
  process.exitCode = 1;
} finally {
  await engine.close();
}
