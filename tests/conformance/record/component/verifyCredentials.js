'use strict';

module.exports = async (cfg) => {
    switch (cfg.mode) {
        case 'throw': throw new Error('bad key');
        case 'false': return { verified: false, reason: 'not you' };
        case 'object': return { verified: true, details: 'fine' };
        default: return { verified: true };
    }
};
