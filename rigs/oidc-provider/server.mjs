// A real OAuth 2 server on loopback: npm oidc-provider, strict about one-time refresh tokens.
//
// Environment (defaults in brackets):
//   PORT [3101]  ACCESS_TTL_S [60]  REFRESH_TTL_S [86400]  ACCESS_FORMAT opaque|jwt [opaque]  ROTATE 1|0 [1]
//   REDIRECT_URI [http://127.0.0.1:9/cb], where browsers are sent back to
// Clients:
//   vault / vault-secret      client_secret_basic        vaultpost / vault-secret   client_secret_post
//   pub                       no secret, PKCE            cc / cc-secret             client_credentials
// Endpoints: /.well-known/openid-configuration /auth /token /jwks /token/revocation /token/introspection, and /api/*, a resource
// that checks the bearer token.
// Control:
//   POST /dev/mint?n=&client=&scope=    refresh tokens, one a line
//   GET  /dev/stats                     counts since the start or the last reset
//   POST /dev/reset                     counts to zero, faults off
//   POST /dev/fault?delay_before=&delay_after=&fail=N&status=&retry_after=&drop_after=N     for /token: milliseconds, and how many
//        of the next requests fail before acceptance (fail), or are answered with a cut connection after it (drop_after)
import { generateKeyPairSync } from 'node:crypto';
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import Provider from 'oidc-provider';
import { memoryAdapter } from './memory.mjs';

const env = process.env;
const port = Number(env.PORT ?? 3101);
const access_ttl_s = Number(env.ACCESS_TTL_S ?? 60);
const refresh_ttl_s = Number(env.REFRESH_TTL_S ?? 86_400);
const jwt = env.ACCESS_FORMAT === 'jwt';
const issuer = `http://127.0.0.1:${port}`;

const code_client = {
  redirect_uris: [env.REDIRECT_URI ?? 'http://127.0.0.1:9/cb'],
  response_types: ['code'],
  grant_types: ['authorization_code', 'refresh_token'],
  scope: 'openid offline_access api',
};

const jwt_access_tokens = {
  enabled: true,
  defaultResource: () => 'urn:api',
  useGrantedResource: () => true,
  getResourceServerInfo: () => ({
    scope: 'api openid offline_access',
    audience: 'urn:api',
    accessTokenFormat: 'jwt',
    accessTokenTTL: access_ttl_s,
    jwt: { sign: { alg: 'ES256' } },
  }),
};

function signing_key(type, options, kid) {
  const { privateKey } = generateKeyPairSync(type, options);
  return { ...privateKey.export({ format: 'jwk' }), use: 'sig', kid };
}

const provider = new Provider(issuer, {
  adapter: memoryAdapter(),
  clients: [
    { ...code_client, client_id: 'vault', client_secret: 'vault-secret' },
    { ...code_client, client_id: 'vaultpost', client_secret: 'vault-secret', token_endpoint_auth_method: 'client_secret_post' },
    { ...code_client, client_id: 'pub', token_endpoint_auth_method: 'none', application_type: 'native' },
    {
      client_id: 'cc',
      client_secret: 'cc-secret',
      redirect_uris: [],
      response_types: [],
      grant_types: ['client_credentials'],
      scope: 'api',
    },
  ],
  scopes: ['openid', 'offline_access', 'api'],
  features: {
    devInteractions: { enabled: true },
    clientCredentials: { enabled: true },
    revocation: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    ...(jwt ? { resourceIndicators: jwt_access_tokens } : {}),
  },
  pkce: { required: () => true },
  rotateRefreshToken: (env.ROTATE ?? '1') === '1',
  issueRefreshToken: async (_ctx, client) => client.grantTypeAllowed('refresh_token'),
  ttl: {
    AccessToken: access_ttl_s,
    ClientCredentials: access_ttl_s,
    RefreshToken: refresh_ttl_s,
    AuthorizationCode: 60,
    Grant: refresh_ttl_s * 10,
    Interaction: 600,
    Session: 86_400,
    IdToken: 60,
  },
  findAccount: async (_ctx, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
  cookies: { keys: ['only-for-this-rig'] },
  jwks: { keys: [signing_key('ec', { namedCurve: 'P-256' }, 'es1'), signing_key('rsa', { modulusLength: 2048 }, 'rs1')] },
});

// --- counts

const zero = () => ({
  token_requests: 0,
  refresh_ok: 0,
  client_credentials_ok: 0,
  code_ok: 0,
  grant_errors: {},
  grants_revoked: 0,
  dropped: 0,
  failed: 0,
  api_ok: 0,
  api_401: 0,
});
const stats = zero();
const counter = { refresh_token: 'refresh_ok', client_credentials: 'client_credentials_ok', authorization_code: 'code_ok' };
provider.on('grant.success', (ctx) => {
  stats[counter[ctx.oidc.params.grant_type]] += 1;
});
provider.on('grant.error', (_ctx, error) => {
  stats.grant_errors[error.error] = (stats.grant_errors[error.error] ?? 0) + 1;
});
provider.on('grant.revoked', () => {
  stats.grants_revoked += 1;
});

// --- control

const fault_names = ['delay_before', 'delay_after', 'fail', 'status', 'retry_after', 'drop_after'];
const faults = Object.fromEntries(fault_names.map((name) => [name, 0]));

async function mint(count, client_id, scope) {
  const client = await provider.Client.find(client_id);
  if (!client) throw new Error(`no client ${client_id}`);
  const tokens = [];
  const now_s = Math.floor(Date.now() / 1_000);
  for (let i = 0; i < count; i += 1) {
    const accountId = `account-${now_s}-${i}`;
    const grant = new provider.Grant({ accountId, clientId: client_id });
    grant.addOIDCScope(scope);
    if (jwt) grant.addResourceScope('urn:api', 'api');
    const grantId = await grant.save();
    const token = new provider.RefreshToken({
      accountId,
      client,
      grantId,
      gty: 'authorization_code',
      scope,
      authTime: now_s,
      claims: {},
      rotations: 0,
      iiat: now_s,
      ...(jwt ? { resource: 'urn:api' } : {}),
    });
    tokens.push(await token.save());
  }
  return tokens;
}

function answer(res, status, body, headers = {}) {
  const is_text = typeof body === 'string';
  res.writeHead(status, { 'content-type': is_text ? 'text/plain' : 'application/json', ...headers });
  res.end(is_text ? body : JSON.stringify(body));
}

async function control(res, path, query) {
  switch (path) {
    case '/dev/mint': {
      const scope = query.get('scope') ?? 'offline_access api';
      const tokens = await mint(Number(query.get('n') ?? 1), query.get('client') ?? 'vault', scope);
      return answer(res, 200, `${tokens.join('\n')}\n`);
    }
    case '/dev/stats':
      return answer(res, 200, stats);
    case '/dev/reset':
      Object.assign(stats, zero());
      for (const name of fault_names) faults[name] = 0;
      return answer(res, 200, {});
    case '/dev/fault':
      for (const name of fault_names) faults[name] = Number(query.get(name) ?? 0);
      return answer(res, 200, faults);
    default:
      return answer(res, 404, { error: 'not_found' });
  }
}

// --- the resource

async function resource(req, res) {
  const bearer = /^Bearer (.+)$/i.exec(req.headers.authorization ?? '')?.[1];
  const token = bearer && ((await provider.AccessToken.find(bearer)) ?? (await provider.ClientCredentials.find(bearer)));
  if (!token || token.isExpired) {
    stats.api_401 += 1;
    return answer(res, 401, { error: 'invalid_token' }, { 'www-authenticate': 'Bearer error="invalid_token"' });
  }
  stats.api_ok += 1;
  return answer(res, 200, { ok: true, sub: token.accountId ?? token.clientId, exp: token.exp });
}

// --- the token endpoint, with faults around it

/** Applies the faults to one token request; true when it has been answered without oidc-provider. */
async function disturb(req, res) {
  stats.token_requests += 1;
  if (faults.delay_before) await sleep(faults.delay_before);
  if (faults.fail > 0) {
    faults.fail -= 1;
    stats.failed += 1;
    const headers = faults.retry_after ? { 'retry-after': String(faults.retry_after) } : {};
    answer(res, faults.status || 503, { error: 'temporarily_unavailable' }, headers);
    return true;
  }
  if (faults.drop_after > 0) {
    faults.drop_after -= 1;
    stats.dropped += 1;
    res.write = () => true;
    res.end = () => {
      req.socket.destroy();
      return res;
    };
  } else if (faults.delay_after) {
    const end = res.end.bind(res);
    res.end = (...rest) => {
      setTimeout(() => end(...rest), faults.delay_after);
      return res;
    };
  }
  return false;
}

const oauth = provider.callback();

async function serve(req, res) {
  const url = new URL(req.url, issuer);
  if (url.pathname.startsWith('/dev/')) return control(res, url.pathname, url.searchParams);
  if (url.pathname.startsWith('/api/')) return resource(req, res);
  if (url.pathname === '/token' && (await disturb(req, res))) return undefined;
  return oauth(req, res);
}

const server = http.createServer((req, res) => {
  serve(req, res).catch((error) => {
    console.error(error);
    res.destroy();
  });
});
server.listen(port, '127.0.0.1', () => console.log(`oidc-provider listens on ${issuer}`));
process.on('SIGTERM', () => process.exit(0));
