'use strict';

exports.init = () => {
    throw new Error('cannot initialise');
};

exports.process = async () => {};
