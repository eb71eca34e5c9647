// What the fetch of Node.js reads of every reply of the corpus. Arguments: the URL, how many replies there are, the access
// token, the refresh token. Prints a JSON list of booleans.

const [url, count, access, refresh] = process.argv.slice(2);

async function givesToken(index) {
  try {
    const body = new URLSearchParams({ refresh_token: `case-${index}` });
    const reply = await fetch(url, { method: "POST", body, redirect: "manual" });
    const text = await reply.text();
    let value;
    try {
      value = JSON.parse(text);
    } catch {
      value = Object.fromEntries(new URLSearchParams(text.trim()));
    }
    return value?.access_token === access && value.refresh_token === refresh;
  } catch {
    return false;
  }
}

// The signal of fetch itself does not end every wait.
const late = () => new Promise((resolve) => setTimeout(resolve, 5_000, false));

const read = new Array(Number(count)).fill(false);
let next = 0;
const worker = async () => {
  while (next < read.length) {
    const index = next++;
    read[index] = await Promise.race([givesToken(index), late()]);
  }
};
await Promise.all(Array.from({ length: 8 }, worker));
process.stdout.write(JSON.stringify(read), () => process.exit(0));
