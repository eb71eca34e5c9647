// A real OAuth 2 server on loopback: npm oidc-provider, strict about one-time refresh tokens.
//
// Environment (defaults in brackets):
//   PORT [3101]  ACCESS_TTL_S [60]
//   REDIRECT_URI [http://127.0.0.1:9/cb], where browsers are sent back to
// Client: vault / vault-secret, client_secret_basic
// Endpoints: /.well-known/openid-configuration /auth /token /jwks /token/revocation /token/introspection, and /api/*, a resource
// that checks the bearer token.
// Control:
//   POST /dev/mint?n=                   refresh tokens, one a line
//   GET  /dev/stats                     counts since the start
import { generateKeyPairSync } from 'node:crypto';
import http from 'node:http';
import Provider from 'oidc-provider';
import { memoryAdapter } from './memory.mjs';

const env = process.env;
const port = Number(env.PORT ?? 3101);
const access_ttl_s = Number(env.ACCESS_TTL_S ?? 60);
const refresh_ttl_s = 86_400;
const issuer = `http://127.0.0.1:${port}`;

const code_client = {
  redirect_uris: [env.REDIRECT_URI ?? 'http://127.0.0.1:9/cb'],
  response_types: ['code'],
  grant_types: ['authorization_code', 'refresh_token'],
  scope: 'openid offline_access api',
};

function signing_key(type, options, kid) {
  const { privateKey } = generateKeyPairSync(type, options);
  return { ...privateKey.export({ format: 'jwk' }), use: 'sig', kid };
}

const provider = new Provider(issuer, {
  adapter: memoryAdapter(),
  clients: [
    { ...code_client, client_id: 'vault', client_secret: 'vault-secret' },
  ],
  scopes: ['openid', 'offline_access', 'api'],
  features: {
    devInteractions: { enabled: true },
    revocation: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
  },
  pkce: { required: () => true },
  rotateRefreshToken: true,
  issueRefreshToken: async (_ctx, client) => client.grantTypeAllowed('refresh_token'),
  ttl: {
    AccessToken: access_ttl_s,
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

const stats = {
  token_requests: 0,
  refresh_ok: 0,
  code_ok: 0,
  grant_errors: {},
  grants_revoked: 0,
  api_ok: 0,
  api_401: 0,
};
const counter = { refresh_token: 'refresh_ok', authorization_code: 'code_ok' };
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

async function mint(count) {
  const scope = 'offline_access api';
  const client = await provider.Client.find('vault');
  const tokens = [];
  const now_s = Math.floor(Date.now() / 1_000);
  for (let i = 0; i < count; i += 1) {
    const accountId = `account-${now_s}-${i}`;
    const grant = new provider.Grant({ accountId, clientId: client.clientId });
    grant.addOIDCScope(scope);
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
    case '/dev/mint':
      return answer(res, 200, `${(await mint(Number(query.get('n') ?? 1))).join('\n')}\n`);
    case '/dev/stats':
      return answer(res, 200, stats);
    default:
      return answer(res, 404, { error: 'not_found' });
  }
}

// --- the resource

async function resource(req, res) {
  const bearer = /^Bearer (.+)$/i.exec(req.headers.authorization ?? '')?.[1];
  const token = bearer && ((await provider.AccessToken.find(bearer)));
  if (!token || token.isExpired) {
    stats.api_401 += 1;
    return answer(res, 401, { error: 'invalid_token' }, { 'www-authenticate': 'Bearer error="invalid_token"' });
  }
  stats.api_ok += 1;
  return answer(res, 200, { ok: true, sub: token.accountId, exp: token.exp });
}

const oauth = provider.callback();

async function serve(req, res) {
  const url = new URL(req.url, issuer);
  if (url.pathname.startsWith('/dev/')) return control(res, url.pathname, url.searchParams);
  if (url.pathname.startsWith('/api/')) return resource(req, res);
  if (url.pathname === '/token') stats.token_requests += 1;
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
