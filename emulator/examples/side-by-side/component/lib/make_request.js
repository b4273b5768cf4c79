'use strict';

// Sends one request, the way the platform's documentation tells authors to: with the access token of the
// configuration; after a 401 with a refreshed one, once the whole answer of the provider is emitted as updateKeys.

exports.process = async function makeRequest(message, cfg) {
    const send = ({ access_token: token }) => request(cfg.baseUrl, message.body, token);
    let response = await send(cfg.oauth);
    if (response.status === 401) {
        const tokens = await refreshed(cfg.oauth.refresh_token);
        await this.emit('updateKeys', { oauth: tokens });
        response = await send(tokens);
    }
    if (!response.ok) throw new Error(`The API answered ${response.status}`);
    return { headers: {}, body: { status: response.status, body: await response.json() } };
};

function request(baseUrl, { method, path, body }, token) {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    return fetch(baseUrl + path, { method, headers, body: JSON.stringify(body) });
}

async function refreshed(refreshToken) {
    const body = new URLSearchParams({
        grant_type: 'refresh_token',
        refresh_token: refreshToken,
        client_id: process.env.OAUTH_CLIENT_ID,
        client_secret: process.env.OAUTH_CLIENT_SECRET,
    });
    const response = await fetch(process.env.OAUTH_TOKEN_URI, { method: 'POST', body });
    const answer = await response.json();
    if (!response.ok) throw new Error(`The provider refused to refresh the token: ${answer.error}`);
    return answer;
}
